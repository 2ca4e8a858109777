#include <zlib.h>

unsigned long answer() { return crc32(0, reinterpret_cast<const Bytef *>("123456789"), 9); }
