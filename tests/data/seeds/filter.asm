    r0 = 0
    r3 = 5 ll
    *(u32 *)(r10 - 8) = r3
    r4 = *(u16 *)(r1 + 12)
    r4 = be16 r4
    if w4 != 0x800 goto out
again:
    r5 = *(s8 *)(r1 + 14)
    r5 s>>= 3
    r3 -= 1
    if r3 s> 0 goto again
    w0 = -w0
    r0 = bswap64 r0
    r0 s/= 3
out:
    exit
