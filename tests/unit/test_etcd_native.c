/* What test_etcd.c says of the client, by native gRPC. */
#define NATIVE true
#include "test_etcd.c"
