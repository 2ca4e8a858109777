/* The mark in a slim library (docs/slim.md): the first of its notes that is ours, JSON. */
#include "archs.h"

#include <regex.h>
#include <string.h>

enum { MOST = 1024 };
static const char OWNER[] = "vllm-nix";
#define CAPABILITY "\"[0-9]{1,3}[.][0-9][af]?\""

static size_t padded(uint32_t size) { return ((size_t)size + 3) / 4 * 4; }

static bool is_mark(const unsigned char *bytes, size_t size) {
  char text[MOST];
  regex_t form;
  if (size >= sizeof text || memchr(bytes, 0, size))
    return false;
  memcpy(text, bytes, size);
  text[size] = 0;
  return !regcomp(&form,
                  "^\\{\"slimmed-for\": \\[" CAPABILITY "(, " CAPABILITY ")*\\], "
                  "\"cuda\": (null|\"[0-9.]+\")\\} *$",
                  REG_EXTENDED | REG_NOSUB) &&
         !regexec(&form, text, 0, NULL, 0);
}

void check_notes(const unsigned char *notes, size_t size) {
  uint32_t sizes[3]; /* of the owner's name, of the text; the type */
  size_t at = 0;
  while (size - at >= sizeof sizes) {
    memcpy(sizes, notes + at, sizeof sizes);
    size_t owner = at + sizeof sizes, text = owner + padded(sizes[0]);
    if (text > size || sizes[1] > size - text)
      return;
    if (sizes[0] == sizeof OWNER && !memcmp(notes + owner, OWNER, sizeof OWNER)) {
      need(is_mark(notes + text, sizes[1]));
      return;
    }
    at = text + padded(sizes[1]);
    if (at > size)
      return;
  }
}
