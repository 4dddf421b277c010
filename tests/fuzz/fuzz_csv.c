/* The reader, the rows of long and wide forms and their labels, and maps of columns, on any bytes;
 *the first byte says which header is in front of them. What it checks beside memory: records lie
 *one behind the other, and reading from each of them gives the same again. clang
 *-fsanitize=fuzzer,address -DFUZZ …    or as it is: fuzz_csv FILE… */
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "row.h"

#define AGAIN_MAX 8 /* records that are read a second time */

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static void require(bool ok)
{
	if (!ok)
		abort();
}

static void parse_row(struct row_parser *rows, const struct csv_record *rec)
{
	struct sample s;
	struct err e;
	int r = row_parse(rows, rec, &s, &e);

	if (r == -ENOBUFS) {
		row_forget(rows);
		r = row_parse(rows, rec, &s, &e);
	}
	require(r >= 0);
	for (; r != ROW_END; r = row_more(rows, rec, &s, &e)) {
		require(r >= 0);
		require(r != ROW_OK || value_classify(s.value, false) == VALUE_NUMBER);
	}
}

static void read_again(int fd, const struct csv_conf *conf, const struct csv_record *want,
		       int event)
{
	struct csv_record rec;
	struct csv *c;
	int r;

	require(csv_open(&c, fd, conf) == 0 && csv_seek(c, want->offset, want->line) == 0);
	r = csv_next(c, &rec, NULL);
	require(r == event && rec.end == want->end && rec.next_line == want->next_line &&
		rec.n == want->n);
	csv_close(c);
}

static void read_all(int fd, const struct csv_conf *conf, bool again)
{
	struct row_parser *rows = row_parser_new(&(struct row_conf){.name = "f", .series_max = 4});
	struct csv_record rec;
	struct csv *c;
	int event, n = 0;
	int64_t end = 0;

	require(csv_open(&c, fd, conf) == 0 && csv_seek(c, 0, 1) == 0);
	while ((event = csv_next(c, &rec, NULL)) > CSV_END) {
		bool is_header = n++ == 0;

		require(rec.offset >= end && rec.end > rec.offset);
		end = rec.end;
		if (again && n < AGAIN_MAX && rec.offset) {
			int64_t at = lseek(fd, 0, SEEK_CUR);

			read_again(fd, &(struct csv_conf){.name = "f", .block = 7}, &rec, event);
			lseek(fd, at, SEEK_SET);
		}
		if (is_header && (event != CSV_RECORD || row_header(rows, &rec, NULL) < 0))
			break;
		if (!is_header && event == CSV_RECORD)
			parse_row(rows, &rec);
	}
	csv_close(c);
	row_parser_free(rows);
}

static void parse_map(const uint8_t *p, size_t n)
{
	struct column_map m;

	if (column_map_parse(&m, "m", (struct slice){(const char *)p, n}, NULL) == 0)
		column_map_release(&m);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	static const char *const headers[] = {
		"timestamp,value,metric_name,gpu_id,Hostname,labels_raw\n",
		"timestamp,index,host,utilization.gpu [%],memory.used "
		"[GiB],pstate,driver_version,x\n",
		"",
	};
	const char *header = headers[n ? p[0] % ARRAY_SIZE(headers) : 0];
	int fd = memfd_create("fuzz", MFD_CLOEXEC);

	parse_map(p, n);
	require(write(fd, header, strlen(header)) >= 0 && write(fd, p, n) == (ssize_t)n);
	read_all(fd, &(struct csv_conf){.name = "f"}, true);
	read_all(fd,
		 &(struct csv_conf){.name = "f", .block = 61, .record_max = 200, .field_max = 50},
		 false);
	close(fd);
	return 0;
}

#ifndef FUZZ
static void run_file(const char *path)
{
	static uint8_t bytes[1 << 22];
	FILE *f = fopen(path, "rb");

	if (!f) {
		perror(path);
		exit(1);
	}
	LLVMFuzzerTestOneInput(bytes, fread(bytes, 1, sizeof(bytes), f));
	fclose(f);
}

int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
		run_file(argv[i]);
	return 0;
}
#endif
