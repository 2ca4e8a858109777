/* Fatbins and their entries, by their headers. */
#include "archs.h"

#include <stdlib.h>
#include <string.h>
#include <wchar.h>

enum {
  MAGIC = 0xBA55ED50,
  HEADER = 16,
  ENTRY = 64,
  MOST_HEADERS = 1 << 17,
  MOST_ENTRIES = 4096,
  SEARCHED = 1 << 17, /* bytes at once; they stay in the processor's cache */
  ARCH_SPECIFIC = 0x100000,
  FAMILY = 0x200000,
};
/* The number, version 1, 16 bytes of header. */
static const unsigned char START[] = {0x50, 0xED, 0x55, 0xBA, 1, 0, 16, 0};

static struct window data;
static unsigned headers;
static size_t known;

static uint16_t u16(const unsigned char *at) {
  uint16_t value;
  memcpy(&value, at, sizeof value);
  return value;
}

static uint32_t u32(const unsigned char *at) {
  uint32_t value;
  memcpy(&value, at, sizeof value);
  return value;
}

static uint64_t u64(const unsigned char *at) {
  uint64_t value;
  memcpy(&value, at, sizeof value);
  return value;
}

/* Counts what hostile files have millions of. */
static void count_header(void) { need(++headers <= MOST_HEADERS); }

static size_t sort_of(struct sort *sorts, enum kind kind, uint32_t sm, uint64_t flags,
                      const unsigned char *version) {
  struct sort sort = {.kind = kind, .sm = sm};
  sort.suffix[0] = flags & ARCH_SPECIFIC ? 'a' : flags & FAMILY ? 'f' : 0;
  if (kind == PTX) {
    sort.isa[0] = u16(version + 2);
    sort.isa[1] = u16(version);
  }
  size_t at = 0;
  while (at < known && (sorts[at].kind != kind || sorts[at].sm != sm ||
                        sorts[at].suffix[0] != sort.suffix[0] ||
                        memcmp(sorts[at].isa, sort.isa, sizeof sort.isa)))
    at++;
  if (at == known) {
    need(known < MOST_SORTS);
    sorts[known++] = sort;
  }
  return at;
}

/* Reads the one that starts here; returns where it ends. */
static uint64_t read_fatbin(const struct place *place, uint64_t start, struct sort *sorts) {
  need(place->end - start >= HEADER);
  uint64_t size = u64(read_at(&data, start, HEADER) + 8), first = start + HEADER;
  need(size && size <= place->end - first);
  uint64_t end = first + size;
  unsigned short found[MOST_ENTRIES];
  size_t number = 0;
  bool has_cubins = false, runs = false;
  while (first < end) {
    count_header();
    need(end - first >= ENTRY && number < MOST_ENTRIES);
    const unsigned char *entry = read_at(&data, first, ENTRY);
    uint32_t header = u32(entry + 4), packed = u32(entry + 16);
    uint64_t name = (uint64_t)u32(entry + 32) + u32(entry + 36), payload = u64(entry + 8);
    need(header >= ENTRY && header <= end - first && payload <= end - first - header);
    need(name <= header && packed <= payload);
    enum kind kind = CUBIN;
    switch (u16(entry)) {
    case 1:
      kind = PTX;
      break;
    case 2:
      has_cubins = true;
      break;
    case 8:
      kind = LTO_IR;
      break;
    default:
      leave_to_python();
    }
    found[number++] =
        (unsigned short)sort_of(sorts, kind, u32(entry + 28), u64(entry + 40), entry + 24);
    if (kind == CUBIN && (packed || has_functions(first + header, payload)))
      runs = true;
    first += header + payload;
  }
  enum role role = has_cubins && !runs ? STUB : place->role;
  for (size_t i = 0; i < number; i++)
    sorts[found[i]].count[role]++;
  return end;
}

/* Only fatbins and zeros. */
static void read_packed(const struct place *place, struct sort *sorts) {
  uint64_t position = place->start;
  while (position < place->end) {
    uint64_t size = ALIGNED - position % ALIGNED;
    if (size > place->end - position)
      size = place->end - position;
    const unsigned char *word = read_at(&data, position, size);
    if (size == ALIGNED && !memcmp(word, START, sizeof START)) {
      count_header();
      position = read_fatbin(place, position, sorts);
      continue;
    }
    for (uint64_t i = 0; i < size; i++)
      need(!word[i]);
    position += size;
  }
}

/* Data of any kind, in which there may be fatbins. */
static void search(const struct place *place, struct sort *sorts) {
  uint64_t position = (place->start + ALIGNED - 1) / ALIGNED * ALIGNED;
  size_t ahead = PAGE; /* behind one there is another, as a rule */
  while (position < place->end && place->end - position >= ALIGNED) {
    size_t size = ALIGNED;
    const unsigned char *bytes = read_ahead(&data, position, &size, ahead);
    if (size > place->end - position)
      size = place->end - position;
    size -= size % ALIGNED;
    const wchar_t *words = (const wchar_t *)(const void *)bytes;
    const wchar_t *found = wmemchr(words, (wchar_t)MAGIC, size / sizeof *words);
    if (!found) {
      position += size;
      ahead = SEARCHED;
      continue;
    }
    count_header();
    uint64_t at = position + (uint64_t)((const unsigned char *)found - bytes);
    position = at - at % ALIGNED + ALIGNED;
    /* The bytes alone may be a coincidence, or a program's constant. */
    if (at % ALIGNED || memcmp(found, START, sizeof START))
      continue;
    need(place->end - at >= HEADER + 4);
    if (u16(read_at(&data, at + HEADER, 4) + 2) == 0x0101) {
      position = read_fatbin(place, at, sorts);
      ahead = PAGE;
    }
  }
}

static int in_order(const void *left, const void *right) {
  const struct sort *a = left, *b = right;
  if (a->kind != b->kind)
    return a->kind < b->kind ? -1 : 1;
  if (a->sm != b->sm)
    return a->sm < b->sm ? -1 : 1;
  if (a->suffix[0] != b->suffix[0])
    return a->suffix[0] < b->suffix[0] ? -1 : 1;
  if (a->isa[0] != b->isa[0])
    return a->isa[0] < b->isa[0] ? -1 : 1;
  return a->isa[1] < b->isa[1] ? -1 : a->isa[1] > b->isa[1];
}

size_t read_fatbins(const struct place *places, size_t number, struct sort sorts[MOST_SORTS]) {
  for (size_t i = 0; i < number; i++)
    (places[i].role == EMBEDDED ? search : read_packed)(&places[i], sorts);
  qsort(sorts, known, sizeof *sorts, in_order);
  return known;
}
