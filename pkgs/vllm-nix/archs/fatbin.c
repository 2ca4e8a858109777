/* Fatbins and their entries, by their headers. */
#include "archs.h"

#include <stdlib.h>
#include <string.h>
#include <wchar.h>

enum {
  MAGIC = 0xBA55ED50,
  HEADER = 16,
  MOST_HEADERS = 1 << 17,
  MOST_ENTRIES = 4096,
  SEARCHED = 1 << 17, /* bytes at once; they stay in the processor's cache */
  ARCH_SPECIFIC = 0x100000,
  FAMILY = 0x200000,
};
/* The number, version 1, 16 bytes of header. */
static const unsigned char START[] = {0x50, 0xED, 0x55, 0xBA, 1, 0, 16, 0};

struct entry {
  uint16_t kind, version;
  uint32_t header; /* bytes before the code */
  uint64_t size;   /* of the code, as it is stored */
  uint32_t packed, unknown;
  uint16_t isa[2]; /* the minor number is first */
  uint32_t sm, name, name_size;
  uint64_t flags, more, unpacked;
};
_Static_assert(sizeof(struct entry) == 64, "as in a file");

static struct window data;
static unsigned headers;
static size_t known;

/* Counts what hostile files have millions of. */
static void count_header(void) { need(++headers <= MOST_HEADERS); }

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

static size_t sort_of(struct sort *sorts, enum kind kind, const struct entry *entry) {
  struct sort sort = {.kind = kind, .sm = entry->sm};
  sort.suffix[0] = entry->flags & ARCH_SPECIFIC ? 'a' : entry->flags & FAMILY ? 'f' : 0;
  if (kind == PTX) {
    sort.isa[0] = entry->isa[1];
    sort.isa[1] = entry->isa[0];
  }
  size_t at = 0;
  while (at < known && in_order(&sorts[at], &sort))
    at++;
  if (at == known) {
    need(known < MOST_SORTS);
    sorts[known++] = sort;
  }
  return at;
}

/* Reads the one that starts here; returns where it ends. */
static uint64_t read_fatbin(const struct place *place, uint64_t start, struct sort *sorts) {
  uint64_t size, first = start + HEADER;
  need(place->end - start >= HEADER);
  memcpy(&size, read_at(&data, start, HEADER) + sizeof START, sizeof size);
  need(size && size <= place->end - first);
  uint64_t end = first + size;
  unsigned short found[MOST_ENTRIES];
  size_t number = 0;
  bool has_cubins = false, runs = false;
  while (first < end) {
    struct entry entry;
    count_header();
    need(end - first >= sizeof entry && number < MOST_ENTRIES);
    memcpy(&entry, read_at(&data, first, sizeof entry), sizeof entry);
    need(entry.header >= sizeof entry && entry.header <= end - first);
    first += entry.header;
    need(entry.size <= end - first && entry.packed <= entry.size);
    need((uint64_t)entry.name + entry.name_size <= entry.header);
    enum kind kind = CUBIN;
    switch (entry.kind) {
    case 1:
      kind = PTX;
      break;
    case 2:
      has_cubins = true;
      runs |= entry.packed || has_functions(first, entry.size);
      break;
    case 8:
      kind = LTO_IR;
      break;
    default:
      leave_to_python();
    }
    found[number++] = (unsigned short)sort_of(sorts, kind, &entry);
    first += entry.size;
  }
  enum role role = has_cubins && !runs ? STUB : place->role;
  for (size_t i = 0; i < number; i++)
    sorts[found[i]].count[role]++;
  return end;
}

/* Only fatbins and zeros. */
static void read_packed(const struct place *place, struct sort *sorts) {
  uint64_t position = place->start;
  size_t ahead = PAGE; /* behind one there is another, as a rule */
  while (position < place->end) {
    size_t size = 1;
    const unsigned char *bytes = read_ahead(&data, position, place->end, &size, ahead);
    if (!*bytes && !memcmp(bytes, bytes + 1, size - 1)) {
      position += size;
      ahead = SEARCHED;
      continue;
    }
    for (; !*bytes; bytes++)
      position++;
    need(position % ALIGNED == 0 && place->end - position >= sizeof START);
    need(!memcmp(read_at(&data, position, sizeof START), START, sizeof START));
    count_header();
    position = read_fatbin(place, position, sorts);
    ahead = PAGE;
  }
}

/* Data of any kind, in which there may be fatbins. */
static void search(const struct place *place, struct sort *sorts) {
  uint64_t position = place->start;
  size_t ahead = PAGE;
  for (;;) {
    position = (position + ALIGNED - 1) / ALIGNED * ALIGNED;
    if (position + ALIGNED > place->end)
      return;
    size_t size = ALIGNED;
    const unsigned char *bytes = read_ahead(&data, position, place->end, &size, ahead);
    size -= size % ALIGNED;
    const wchar_t *words = (const void *)bytes;
    const wchar_t *found = wmemchr(words, (wchar_t)MAGIC, size / sizeof *words);
    if (!found) {
      position += size;
      ahead = SEARCHED;
      continue;
    }
    count_header();
    uint64_t at = position + (uint64_t)((const unsigned char *)found - bytes);
    position = at + 1;
    /* The bytes alone may be a coincidence, or a program's constant. */
    if (at % ALIGNED || memcmp(found, START, sizeof START))
      continue;
    need(place->end - at >= HEADER + 4);
    if (!memcmp(read_at(&data, at + HEADER + 2, 2), "\1\1", 2)) {
      position = read_fatbin(place, at, sorts);
      ahead = PAGE;
    }
  }
}

size_t read_fatbins(const struct place *places, size_t number, struct sort sorts[MOST_SORTS]) {
  for (size_t i = 0; i < number; i++)
    (places[i].role == EMBEDDED ? search : read_packed)(&places[i], sorts);
  qsort(sorts, known, sizeof *sorts, in_order);
  return known;
}
