/* A file is read and not mapped: it may be cut off meanwhile, and its pages take longer to map. */
#include "archs.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

static const uint64_t LARGEST = 1ull << 32;

uint64_t file_size;
static int file;

void open_file(const char *path) {
  struct stat status;
  /* A device may act on being opened, and who writes into a pipe would go on. */
  need(!stat(path, &status) && S_ISREG(status.st_mode));
  file = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
  /* No more than 2: one of the standard streams is closed. The path may be another's by now. */
  need(file > 2 && !fstat(file, &status) && S_ISREG(status.st_mode));
  file_size = (uint64_t)status.st_size;
  need(file_size <= LARGEST); /* larger ones have holes */
}

const unsigned char *read_ahead(struct window *window, uint64_t offset, uint64_t end, size_t *size,
                                size_t most) {
  need(*size <= WINDOW && *size <= file_size && offset <= file_size - *size);
  uint64_t at = offset - window->offset;
  if (offset < window->offset || at > window->size || *size > window->size - at) {
    /* As aligned in memory as in the file. */
    at = offset % ALIGNED;
    window->offset = offset - at;
    window->size = 0;
    most = at + (most < *size ? *size : most);
    while (window->size < at + *size) {
      ssize_t count = pread(file, window->bytes + window->size, most - window->size,
                            (off_t)(window->offset + window->size));
      need(count > 0);
      window->size += (size_t)count;
    }
  }
  *size = window->size - at < end - offset ? window->size - at : end - offset;
  return window->bytes + at;
}

const unsigned char *read_at(struct window *window, uint64_t offset, uint64_t size) {
  return read_ahead(window, offset, offset + size, &size, PAGE);
}
