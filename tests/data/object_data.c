/* SPDX-License-Identifier: MIT */
/* A filter that needs data beside itself, which is refused. */
extern volatile int table[4];
volatile int table[4] = {1, 2, 3, 4};

int filter(const unsigned char *packet, unsigned long length);

int filter(const unsigned char *packet, unsigned long length)
{
    return length > 0 ? table[packet[0] & 3] : 0;
}
