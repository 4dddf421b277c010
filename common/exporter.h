/* Samples of exporters as rows: which GPU, host and metric a sample is of.
 *
 * dcgm-exporter says all of it in labels: gpu, UUID, device, modelName, Hostname,
 * DCGM_FI_DRIVER_VERSION, GPU_I_ID, GPU_I_PROFILE, pci_bus_id, container, namespace, pod. Where a
 * Prometheus stands between, exported_container, exported_namespace and exported_pod are what the
 * exporter said of the GPU's user, and the labels without exported_ are the exporter's own pod:
 * the exported ones count.
 *
 * nvidia_gpu_exporter says the uuid alone (without GPU-, in lower case), and the rest in
 * nvidia_smi_gpu_info{uuid,name,driver_version,index} and nvidia_smi_index{uuid} of the same
 * scrape: those are gathered first (gpus_gather). Of its metrics those whose meaning and unit are
 * that of a DCGM field get its name; ratios, bytes and Hz keep theirs.
 *
 * The host is the label Hostname, else the one given for the target. What has neither a label gpu
 * nor is one of nvidia_gpu_exporter's with a uuid is of no GPU.
 *
 * Values: as row.h has them; infinities, which exist here, are no value. */
#ifndef GPUTEL_EXPORTER_H
#define GPUTEL_EXPORTER_H

#include "exposition.h"
#include "row.h"

#define GPUS_MAX 256 /* of nvidia_gpu_exporter, in a scrape */

/* What one scrape of nvidia_gpu_exporter says of its GPUs. */
struct smi_gpu {
	char uuid[64]; /* as the label has it; this and the others: padded with NULs */
	char full_uuid[68], index[68], model[128], driver[80];
};

/* Zero before first use. */
struct gpus {
	struct smi_gpu *list;
	size_t n;
};

void gpus_release(struct gpus *g);
/* Forgets what it had and reads a whole scrape. */
void gpus_gather(struct gpus *g, struct slice body, enum exposition_format format);

/* What all samples of a target have in common. */
struct target_facts {
	struct slice host;   /* where the label is missing */
	bool host_is_forced; /* --host: the label does not count */
};

/* The fields of one sample. They borrow from the sample, the gpus and the facts, and from the two
 * buffers. */
struct exported {
	struct slice fields[FIELD_COUNT];
	struct strbuf unescaped, labels;
};

void exported_init(struct exported *x);
void exported_release(struct exported *x);

/* False: it is of no GPU. For a quick look at each sample; exporter_fields decides. */
bool exporter_may_be_gpu(const struct exposition_sample *s, const struct gpus *g);

/* 0; -ENOENT: the sample is of no GPU; -EINVAL: malformed labels, said in e. */
int exporter_fields(const struct exposition_sample *s, const struct gpus *g,
		    const struct target_facts *t, struct exported *ret, struct err *e) must_check;

/* What tells the series of a sample from all others of this process, without a look at its labels.
 * Borrows likewise. */
struct series_key exporter_key(const struct exposition_sample *s, const struct gpus *g,
			       const struct target_facts *t);

/* The value as row.h knows values: infinities become nothing. */
struct slice exporter_value(struct slice text);

#endif
