/* SPDX-License-Identifier: MIT */
/* A filter in C, for the object reader: UDP over IPv4 over Ethernet. */
typedef unsigned char u8;
typedef unsigned short u16;

int filter(const u8 *packet, unsigned long length);

int filter(const u8 *packet, unsigned long length)
{
    if (length < 34) {
        return 0;
    }
    return *(const u16 *)(packet + 12) == __builtin_bswap16(0x800) &&
           packet[23] == 17;
}
