/* One target (FUZZ_TARGET, a string) as libFuzzer wants it; it brings main(). */
#include "fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    static const struct fuzz_target *target;

    if (target == NULL)
        target = fuzz_find(FUZZ_TARGET);
    FUZZ_CHECK(target != NULL);
    target->run((const char *)bytes, len);
    return 0;
}
