# make                      all programs, into bin/
# make SAN=address|undefined|thread ...   the same beside it, in build/<SAN>/bin
# make coverage              line coverage of the unit tests, by folder; build in build/coverage
# make FAILPOINTS=1 ...     the same with failpoints (common/failpoint.h), in build/failpoints/bin
# make fuzz [FUZZ_TIME=60]  every fuzzer (needs clang)
# make bench-bridge          requests, files and events of the bridge, beside peers
# make install [PREFIX=/usr/local] [DESTDIR=] | uninstall | deb
# make analyze              gcc -fanalyzer, clang-tidy and cppcheck over all sources
# make test-deb             the package on a fresh Debian, in a container (as root)
# make bench-columns CSV=FILE  what the chunk format takes and costs on its rows
# make generated            examples/gputel.conf anew, after common/conf_table.c
# make test | check | run   see README.md

PROGRAMS := streamer collector fs bridge
# What builds, what tests, what `make deb` wants besides.
LIBRARIES := libfuse3-dev libcurl4-openssl-dev libsodium-dev libzstd-dev libmicrohttpd-dev \
	libwebsockets-dev libssl-dev zlib1g-dev libsnappy-dev libjs-chart.js
PACKAGES := gcc make pkg-config $(LIBRARIES) fuse3 \
	etcd-server etcd-client prometheus python3 python3-pytest \
	python3-hypothesis python3-requests python3-websockets chromium-headless-shell inotify-tools rsync procps psmisc iproute2 strace \
	file jq lsof git less busybox openssl zstd groff-base man-db \
	python3-yaml python3-pandas
DEB_PACKAGES := build-essential debhelper dpkg-dev fakeroot lintian
ANALYZE_PACKAGES := clang-tidy cppcheck
TRY_PACKAGES := debootstrap systemd-container procps
PYTHON   := /usr/bin/python3

# Of a tag v1.2.3, with what was committed since; without one, what comes first.
VERSION ?= $(or $(patsubst v%,%,$(shell git describe --tags --match 'v[0-9]*' 2>/dev/null)),0.1.0)

SAN     ?=
B       := build/$(or $(SAN),$(if $(FAILPOINTS),failpoints),$(if $(COVERAGE),coverage),release)
BIN     := $(if $(SAN)$(FAILPOINTS)$(COVERAGE),$(B)/bin,bin)
COUNT   := $(if $(COVERAGE),--coverage -fprofile-update=atomic)

CC       = gcc
OPT     ?= -O2 -g
WARN    := -Wall -Wextra -Wno-unused-parameter -Wmissing-prototypes -Wstrict-prototypes \
	-Wold-style-definition -Wshadow -Wvla -Wpointer-arith -Wwrite-strings -Wundef -Wformat=2
HARDEN  := $(if $(SAN),-fsanitize=$(SAN) -fno-sanitize-recover=all -fno-omit-frame-pointer, \
	-D_FORTIFY_SOURCE=2) -fstack-protector-strong -fPIE
CFLAGS  := -std=gnu17 -D_GNU_SOURCE $(if $(FAILPOINTS),-DGPUTEL_FAILPOINTS) -Icommon $(OPT) $(WARN) $(HARDEN) $(COUNT) -pthread
LDFLAGS := $(if $(SAN),-fsanitize=$(SAN)) $(COUNT) -pthread -pie -Wl,-z,relro,-z,now,--as-needed

# Stretches the deadlines of tests.
export GPUTEL_SLOW ?= $(if $(SAN),4,1)

# Evaluated in recipes, hence after `make deps` has installed pkg-config and the libraries.
pkg      = $(shell pkg-config $(1))
# zlib: gzip of answers, and of files that come in.
LIBS     = $(call pkg,--libs libcurl libsodium libzstd zlib) -lm
FS_LIBS  = $(call pkg,--libs fuse3)
# OpenSSL: TLS of the bridge; snappy: what Prometheus packs remote-write with (no .pc file in Debian).
BRIDGE_LIBS = $(call pkg,--libs libmicrohttpd libwebsockets openssl) -lsnappy

objects  = $(patsubst %.c,$(B)/%.o,$(sort $(wildcard $(1))))
COMMON  := $(call objects,common/*.c)
DAEMONS := $(foreach p,$(PROGRAMS),$(if $(wildcard $(p)/main.c),$(p)))
MODULES := $(filter-out %/main.o,$(call objects,streamer/*.c collector/*.c)) \
	$(call objects,$(foreach m,head range decimal cursor limit peer tokens remote_write,bridge/$(m).c))
TESTLIB := $(filter-out %/fake_nvml.o %/fail_malloc.o,$(call objects,tests/lib/*.c))
# A double of NVIDIA's library, found by LD_LIBRARY_PATH.
FAKE_NVML := build/fake/libnvidia-ml.so.1
# What makes the n-th allocation fail, by LD_PRELOAD.
FAIL_MALLOC := build/fake/fail_malloc.so
UNITS   := $(patsubst %.c,$(B)/%,$(sort $(wildcard tests/unit/test_*.c)))
ALL_OBJ := $(call objects,$(foreach d,common tests/lib tests/unit tests/bench $(PROGRAMS),$(d)/*.c))

.PHONY: all $(PROGRAMS) generated deps run test test-unit test-e2e check clean coverage count bench bench-bridge bench-columns bench-fs fuzz fuzzers chaos soak deb test-deb install uninstall man analyze
.DELETE_ON_ERROR:
.SECONDARY:

all: $(DAEMONS)
$(DAEMONS): %: $(BIN)/gputel-%

# ---- objects -----------------------------------------------------------------------------------

# Files that change when what is in them does: objects depend on the flags, what is linked from them
# also on the list of sources, so that a removed one goes.
stamp = $(shell mkdir -p $(B); echo '$(2)' | cmp -s - $(1) || echo '$(2)' >$(1))
FLAGS   := $(B)/flags
SOURCES := $(B)/sources
ifneq ($(MAKECMDGOALS),clean)
$(call stamp,$(FLAGS),$(CC) $(CFLAGS) $(LDFLAGS))
$(call stamp,$(SOURCES),$(ALL_OBJ))
$(call stamp,$(B)/version,$(VERSION))
endif

$(B)/fs/%.o $(B)/tests/bench/floor.o: EXTRA = $(call pkg,--cflags fuse3)
$(B)/common/conf.o: EXTRA = -DGPUTEL_VERSION='"$(VERSION)"'
$(B)/common/conf.o: $(B)/version

# What the bridge's page is made of is assembled into it.
CHARTJS := /usr/share/javascript/chart.js
$(B)/bridge/site.o: EXTRA = -Wa,-Ibridge/web,-I$(CHARTJS)
$(B)/bridge/site.o: $(wildcard bridge/web/*)

# The maps of columns that are built in.
$(B)/common/column_map.o: EXTRA = -Wa,-Icommon/maps
$(B)/common/column_map.o: $(wildcard common/maps/*)

$(B)/%.o: %.c $(FLAGS)
	@mkdir -p $(@D)
	@echo "  CC      $<"
	@$(CC) $(CFLAGS) $(EXTRA) -MMD -MP -c -o $@ $<

-include $(ALL_OBJ:.o=.d)

# Members are appended, not replaced: modules of different daemons may share a file name.
$(B)/common.a: $(COMMON)
$(B)/test.a: $(COMMON) $(MODULES) $(TESTLIB)
$(B)/%.a: $(FLAGS) $(SOURCES)
	@rm -f $@
	@ar qcs $@ $(filter %.o,$^)

# ---- programs ----------------------------------------------------------------------------------

$(BIN)/gputel-fs: EXTRA_LIBS = $(FS_LIBS)
$(BIN)/gputel-bridge: EXTRA_LIBS = $(BRIDGE_LIBS)

define program
$(BIN)/gputel-$(1): $(call objects,$(1)/*.c) $(B)/common.a
endef
$(foreach p,$(DAEMONS),$(eval $(call program,$(p))))

$(BIN)/gputel-%: $(FLAGS) $(SOURCES)
	@mkdir -p $(@D)
	@echo "  LD      $@"
	@$(CC) $(LDFLAGS) -o $@ $(filter %.o %.a,$^) $(LIBS) $(EXTRA_LIBS)

# ---- tests -------------------------------------------------------------------------------------

$(B)/tests/unit/test_%: $(B)/tests/unit/test_%.o $(B)/test.a
	@echo "  LD      $@"
	@$(CC) $(LDFLAGS) -o $@ $(filter %.o,$^) $(filter %.a,$^) $(LIBS)

# Over a tree of its own.
$(B)/tests/unit/test_feed: $(call objects,$(foreach m,feed subscriber subscriptions past extents event filter \
	tail work,bridge/$(m).c))

# In a second make, because deps may install what the flags are asked from. Most tests wait most of
# the time, so units run beside the end-to-end tests, and those beside each other.
test: deps
	@$(MAKE) --no-print-directory all $(UNITS)
	@r=0; tests/lib/run-units $(UNITS) >$(B)/units.log 2>&1 & units=$$!; \
	$(MAKE) --no-print-directory test-e2e || r=1; \
	wait $$units || r=1; grep -vE '^test_[a-z_]+: [0-9]+ passed, 0 failed$$' $(B)/units.log; exit $$r

test-unit: $(UNITS)
	@tests/lib/run-units $(UNITS)

# Counts are added up over runs; these begin at none. Lines of common/ are what the figure is about:
# the daemons' own are run end to end.
coverage:
	@$(MAKE) --no-print-directory COVERAGE=1 OPT="-O1 -g" count

count: $(UNITS)
	@find $(B) -name '*.gcda' -delete
	@tests/lib/run-units $(UNITS)
	@$(PYTHON) tests/lib/coverage $(B)

$(FAKE_NVML): tests/lib/fake_nvml.c streamer/nvml.h
	@mkdir -p $(@D)
	@echo "  LD      $@"
	@$(CC) -std=gnu17 -D_GNU_SOURCE -Icommon -O1 -g -fPIC -shared -pthread -o $@ $<

$(FAIL_MALLOC): tests/lib/fail_malloc.c
	@mkdir -p $(@D)
	@echo "  LD      $@"
	@$(CC) -std=gnu17 -O1 -g -fPIC -shared -o $@ $<

test-e2e: all $(FAKE_NVML) $(FAIL_MALLOC)
	$(if $(wildcard tests/e2e/test_*.py),\
	@GPUTEL_BIN=$(abspath $(BIN)) PYTHON=$(PYTHON) TIMES=$(B)/e2e.times \
	tests/lib/run-e2e $(sort $(wildcard tests/e2e/test_*.py)),@true)

# Findings of gcc -fanalyzer, clang-tidy and cppcheck that tests/lib/analyze.known has no reason for. Some minutes.
analyze: PACKAGES += $(ANALYZE_PACKAGES)
analyze: deps
	@CFLAGS='$(filter-out $(WARN),$(CFLAGS)) -DGPUTEL_VERSION="$(VERSION)" $(call pkg,--cflags fuse3)' tests/lib/analyze

check: all $(UNITS)
	@tests/lib/check

soak: all
	GPUTEL_SOAK=$(or $(GPUTEL_SOAK),1) GPUTEL_BIN=$(abspath $(BIN)) $(PYTHON) -m pytest -q -s -m soak tests/e2e

chaos: all
	@GPUTEL_BIN=$(abspath $(BIN)) tests/chaos/run

BENCHES := $(patsubst %.c,$(B)/%,$(sort $(wildcard tests/bench/*.c)))
PROBE   := $(B)/tests/bench/probe

$(BENCHES): %: %.o $(B)/test.a
	@echo "  LD      $@"
	@$(CC) $(LDFLAGS) -o $@ $^ $(LIBS) $(if $(filter %/floor,$@),$(FS_LIBS))

# What the chunk format takes and costs on a CSV file.
CSV ?= data/telemetry.csv

bench-columns: $(B)/tests/bench/columns
	@$< $(CSV) $(SEGMENT_SECONDS)

# Every fuzzer for FUZZ_TIME seconds, from its corpus and from what it found before. A program of
# their own flags: tests/fuzz, common and streamer by clang.
FUZZ_TIME ?= 60
FUZZERS   := $(patsubst tests/fuzz/%.c,%,$(sort $(wildcard tests/fuzz/fuzz_*.c)))
FUZZ_OBJ  := $(filter-out %/main.o,$(call objects,common/*.c streamer/*.c))

$(B)/tests/fuzz/%.o: EXTRA = -DFUZZ
-include $(FUZZERS:%=$(B)/tests/fuzz/%.d)

# Beside it the parsers of the bridge, each where it is fuzzed.
$(B)/tests/fuzz/fuzz_http: $(call objects,$(foreach m,cursor decimal head peer range,bridge/$(m).c))
$(B)/tests/fuzz/fuzz_ndjson: $(call objects,$(foreach m,push push_json tokens,bridge/$(m).c))
$(B)/tests/fuzz/fuzz_remote_write: \
	$(call objects,$(foreach m,push push_series remote_write snappy tokens,bridge/$(m).c))
$(B)/tests/fuzz/fuzz_command: $(call objects,bridge/command.c bridge/filter.c)

$(FUZZERS:%=$(B)/tests/fuzz/%): %: %.o $(FUZZ_OBJ)
	@echo "  LD      $@"
	@$(CC) -fsanitize=fuzzer,address -pthread -o $@ $^ $(LIBS) $(if $(findstring json,$@),-ljansson) $(if $(findstring remote,$@),-lsnappy)

fuzzers: $(FUZZERS:%=$(B)/tests/fuzz/%)

fuzz:
	@$(MAKE) --no-print-directory fuzzers CC=clang SAN=fuzzer-no-link,address B=build/fuzz \
		OPT="-O1 -g" WARN=-w
	@r=0; for f in $(FUZZERS); do \
		mkdir -p build/fuzz/found/$$f tests/fuzz/corpus/$$f && \
		build/fuzz/tests/fuzz/$$f -max_total_time=$(FUZZ_TIME) -timeout=10 \
			-rss_limit_mb=2048 -verbosity=0 -print_final_stats=1 \
			-artifact_prefix=build/fuzz/$$f. build/fuzz/found/$$f \
			tests/fuzz/corpus/$$f || r=1; \
	done; exit $$r

# What the bridge serves and holds; needs wrk.
bench-bridge: all $(BENCHES)
	@GPUTEL_BIN=$(abspath $(BIN)) BENCH_FANOUT=$(abspath $(B)/tests/bench/fanout) $(PYTHON) tests/bench/bridge

bench: all $(BENCHES)
	@FULL=$(FULL) GPUTEL_BIN=$(abspath $(BIN)) BENCH_PROBE=$(abspath $(PROBE)) tests/bench/run

# What files cost beside other file systems, and how soon the mount shows and tells what is committed.
bench-fs: all $(B)/tests/bench/fileops $(B)/tests/bench/floor
	@GPUTEL_BIN=$(abspath $(BIN)) BENCH_TOOLS=$(abspath $(B))/tests/bench tests/bench/run-fs

# ---- running -----------------------------------------------------------------------------------

deps:
	@missing=$$(for p in $(PACKAGES); do \
		dpkg-query -W -f '$${Status}' $$p 2>/dev/null | grep -q 'ok installed' || echo $$p; \
	done); \
	test -z "$$missing" && exit 0; \
	sudo=$$(test $$(id -u) = 0 || echo sudo); \
	$$sudo apt-get update && \
	$$sudo env DEBIAN_FRONTEND=noninteractive \
		apt-get install -y --no-install-recommends $$missing

run: deps
	@$(MAKE) --no-print-directory all
	@GPUTEL_BIN=$(abspath $(BIN)) examples/run.sh

# What is made of the table of variables and kept here for people to read; tests compare it.
generated: collector
	@$(BIN)/gputel-collector --print-config=sample >examples/gputel.conf

# ---- installing --------------------------------------------------------------------------------

PREFIX     ?= /usr/local
SYSCONFDIR ?= $(if $(filter /usr,$(PREFIX)),/etc,$(PREFIX)/etc)
UNITDIR    ?= $(PREFIX)/lib/systemd/system
SHARE       = $(PREFIX)/share
SECTION_1  := $(PROGRAMS:%=gputel-%.1)
UNITS_OF   := $(PROGRAMS:%=gputel-%.service)
COMPLETIONS = $(PROGRAMS:%=$(SHARE)/bash-completion/completions/gputel-%)

# What `make uninstall` removes; configuration stays.
INSTALLED = $(PROGRAMS:%=$(PREFIX)/bin/gputel-%) $(PREFIX)/sbin/mount.gputel \
	$(SECTION_1:%=$(SHARE)/man/man1/%) $(SHARE)/man/man5/gputel.5 $(SHARE)/man/man8/mount.gputel.8 \
	$(UNITS_OF:%=$(UNITDIR)/%) $(PREFIX)/lib/sysusers.d/gputel.conf $(PREFIX)/lib/tmpfiles.d/gputel.conf \
	$(COMPLETIONS) $(SHARE)/doc/gputel/README.md \
	$(SHARE)/doc/gputel/OPERATIONS.md $(SHARE)/doc/gputel/gputel.conf

places = sed -e 's|@VERSION@|$(VERSION)|g' -e 's|@SYSCONFDIR@|$(SYSCONFDIR)|g' \
	-e 's|/usr/bin/gputel|$(PREFIX)/bin/gputel|g' -e 's,/etc/\(gputel\|default\)/,$(SYSCONFDIR)/\1/,g'

# Sections that the programs write themselves stand where a page says so.
$(B)/man/gputel-%.1: $(BIN)/gputel-%
	@mkdir -p $(@D)
	@$< --print-config=man >$@.options
	@sed -e '/^@OPTIONS@$$/{r $@.options' -e 'd}' $*/gputel-$*.1 | $(places) >$@
$(foreach p,$(PROGRAMS),$(eval $(B)/man/gputel-$(p).1: $(p)/gputel-$(p).1))

$(B)/man/gputel.5: fs/gputel.5
	@mkdir -p $(@D)
	@$(places) $< >$@

man: $(SECTION_1:%=$(B)/man/%) $(B)/man/gputel.5

put  = install -D -m 644 $(1) "$(DESTDIR)$(2)"
# What somebody may have changed.
keep = test -e "$(DESTDIR)$(2)" || install -D -m $(3) $(1) "$(DESTDIR)$(2)"
made = install -d "$(DESTDIR)$(dir $(2))" && $(places) $(1) >"$(DESTDIR)$(2)"

install: all man
	@set -e; \
	for p in $(PROGRAMS); do \
		install -D -m 755 $(BIN)/gputel-$$p "$(DESTDIR)$(PREFIX)/bin/gputel-$$p"; \
		$(call put,$(B)/man/gputel-$$p.1,$(SHARE)/man/man1/gputel-$$p.1); \
		$(call made,$$p/gputel-$$p.service,$(UNITDIR)/gputel-$$p.service); \
		$(call put,examples/completion.bash,$(SHARE)/bash-completion/completions/gputel-$$p); \
	done; \
	install -d "$(DESTDIR)$(PREFIX)/sbin" "$(DESTDIR)$(SHARE)/man/man8"; \
	ln -sf ../bin/gputel-fs "$(DESTDIR)$(PREFIX)/sbin/mount.gputel"; \
	ln -sf ../man1/gputel-fs.1 "$(DESTDIR)$(SHARE)/man/man8/mount.gputel.8"; \
	$(call put,$(B)/man/gputel.5,$(SHARE)/man/man5/gputel.5); \
	$(call put,examples/debian/gputel.sysusers,$(PREFIX)/lib/sysusers.d/gputel.conf); \
	$(call put,fs/gputel.tmpfiles,$(PREFIX)/lib/tmpfiles.d/gputel.conf); \
	$(call put,README.md,$(SHARE)/doc/gputel/README.md); \
	$(call put,examples/OPERATIONS.md,$(SHARE)/doc/gputel/OPERATIONS.md); \
	$(call put,examples/gputel.conf,$(SHARE)/doc/gputel/gputel.conf); \
	$(call keep,examples/gputel.conf,$(SYSCONFDIR)/gputel/gputel.conf,640); \
	$(call keep,streamer/gputel-streamer.default,$(SYSCONFDIR)/default/gputel-streamer,644)

uninstall:
	rm -f $(INSTALLED:%='$(DESTDIR)%')
	@rmdir '$(DESTDIR)$(SHARE)/doc/gputel' 2>/dev/null || true

# A binary package of what is committed, in build/deb.
DEB_VERSION = $(subst -,+,$(VERSION))
DEB_TREE    = build/deb/gputel-$(DEB_VERSION)
empty :=
comma := ,

deb: PACKAGES += $(DEB_PACKAGES)
deb: deps
	@rm -rf build/deb && mkdir -p $(DEB_TREE)
	@git archive HEAD | tar -x -C $(DEB_TREE)
	@cp -r $(DEB_TREE)/examples/debian $(DEB_TREE)/debian
	@sed -i 's/@LIBRARIES@/$(subst $(empty) ,$(comma) ,$(LIBRARIES))/' $(DEB_TREE)/debian/control
	@printf 'gputel (%s) unstable; urgency=medium\n\n  * Built from %s.\n\n -- %s  %s\n' \
		'$(DEB_VERSION)' "$$(git describe --always --tags)" \
		"$$(sed -n 's/^Maintainer: //p' examples/debian/control)" \
		"$$(git log -1 --format=%cD)" >$(DEB_TREE)/debian/changelog
	@cd $(DEB_TREE) && VERSION='$(VERSION)' dpkg-buildpackage -b -us -uc -j$$(nproc)
	@ls build/deb/*.deb

# Linted, then installed, started as its units say, asked, removed and purged on a fresh Debian 12.
test-deb: PACKAGES += $(TRY_PACKAGES)
test-deb: deb
	@lintian --fail-on error,warning build/deb/gputel_*.changes
	@examples/debian/try build/deb/gputel_*.deb

clean:
	rm -rf build bin
