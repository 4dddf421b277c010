/* What test_etcd_outage.c says of the client, by native gRPC. */
#define NATIVE true
#include "test_etcd_outage.c"
