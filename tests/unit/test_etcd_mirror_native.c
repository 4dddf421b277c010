/* What test_etcd_mirror.c says of mirrors, by native gRPC. */
#define NATIVE true
#include "test_etcd_mirror.c"
