/* Any bytes as JSON records, one a line. */
#include "push_twice.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	take_twice(&push_json, (struct slice){(const char *)p, n});
	return 0;
}
