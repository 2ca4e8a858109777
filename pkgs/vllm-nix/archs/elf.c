/* Sections of an ELF file, and all that binaries/elf.py would find damaged. */
#include "archs.h"

#include <elf.h>
#include <stdlib.h>
#include <string.h>

enum { EM_OF_CUDA = 190, MOST_TEXT = 4096, MOST_NAMES = 256, MOST_NOTES = 1 << 14 };

static struct window headers, names;
static uint64_t text_left; /* bytes of names, which may overlap */

static bool is_inside(uint64_t offset, uint64_t size, uint64_t whole) {
  return size <= whole && offset <= whole - size;
}

/* A name that ends before `end`, until the next one is read. */
static const char *text_at(uint64_t offset, uint64_t end) {
  need(offset < end);
  size_t most = end - offset < MOST_TEXT ? end - offset : MOST_TEXT;
  const char *text = (const char *)read_at(&names, offset, most);
  size_t size = strnlen(text, most);
  need(size < most && size <= text_left);
  text_left -= size;
  return text;
}

static Elf64_Ehdr header_at(uint64_t start, uint64_t size) {
  Elf64_Ehdr header;
  need(size >= sizeof header);
  memcpy(&header, read_at(&headers, start, sizeof header), sizeof header);
  need(!memcmp(header.e_ident, ELFMAG, SELFMAG));
  need(header.e_ident[EI_CLASS] == ELFCLASS64 && header.e_ident[EI_DATA] == ELFDATA2LSB);
  /* Numbers too large for the header are elsewhere. */
  need(header.e_phnum != PN_XNUM && header.e_shstrndx != SHN_XINDEX);
  if (header.e_shoff) {
    need(header.e_shnum && header.e_shentsize == sizeof(Elf64_Shdr));
    need(is_inside(header.e_shoff, header.e_shnum * sizeof(Elf64_Shdr), size));
    need(header.e_shstrndx < header.e_shnum);
  } else {
    header.e_shnum = 0;
    need(!header.e_shstrndx);
  }
  return header;
}

static Elf64_Shdr section_at(uint64_t start, const Elf64_Ehdr *header, size_t index) {
  Elf64_Shdr section;
  uint64_t table = start + header->e_shoff;
  const unsigned char *all = read_at(&headers, table, header->e_shnum * sizeof section);
  memcpy(&section, all + index * sizeof section, sizeof section);
  return section;
}

static Elf64_Phdr segment_at(const Elf64_Ehdr *header, size_t index) {
  Elf64_Phdr segment;
  const unsigned char *all = read_at(&headers, header->e_phoff, header->e_phnum * sizeof segment);
  memcpy(&segment, all + index * sizeof segment, sizeof segment);
  return segment;
}

bool has_functions(uint64_t start, uint64_t size) {
  static const char prefix[] = ".text.";
  Elf64_Ehdr header = header_at(start, size);
  if (!header.e_shstrndx)
    return false;
  Elf64_Shdr table = section_at(start, &header, header.e_shstrndx);
  need(is_inside(table.sh_offset, table.sh_size, size));
  const unsigned char *texts = read_at(&names, start + table.sh_offset, table.sh_size);
  for (size_t i = 0; i < header.e_shnum; i++) {
    uint64_t name = section_at(start, &header, i).sh_name;
    if (is_inside(name, strlen(prefix), table.sh_size) &&
        !memcmp(texts + name, prefix, strlen(prefix)))
      return true;
  }
  return false;
}

/* What the loader reads: search paths and the names of libraries. */
static void check_dynamic(const Elf64_Ehdr *header, const Elf64_Phdr *dynamic) {
  static struct window tags;
  uint64_t strings = 0, size = 0, texts[MOST_NAMES];
  size_t number = dynamic->p_filesz / sizeof(Elf64_Dyn);
  const unsigned char *all = read_at(&tags, dynamic->p_offset, number * sizeof(Elf64_Dyn));
  size_t found = 0;
  for (size_t i = 0; i < number; i++) {
    Elf64_Dyn tag;
    memcpy(&tag, all + i * sizeof tag, sizeof tag);
    if (tag.d_tag == DT_NULL)
      break;
    switch (tag.d_tag) {
    case DT_STRTAB:
      strings = tag.d_un.d_ptr;
      break;
    case DT_STRSZ:
      size = tag.d_un.d_val;
      break;
    case DT_NEEDED:
    case DT_SONAME:
    case DT_RPATH:
    case DT_RUNPATH:
      need(found < MOST_NAMES);
      texts[found++] = tag.d_un.d_val;
    }
  }
  if (!found)
    return;
  need(strings && size);
  Elf64_Phdr segment;
  size_t next = 0;
  do {
    need(next < header->e_phnum);
    segment = segment_at(header, next++);
  } while (segment.p_type != PT_LOAD || strings < segment.p_vaddr ||
           !is_inside(strings - segment.p_vaddr, size, segment.p_filesz));
  uint64_t place = segment.p_offset + strings - segment.p_vaddr;
  for (size_t i = 0; i < found; i++) {
    need(texts[i] < size);
    text_at(place + texts[i], place + size);
  }
}

static void check_segments(const Elf64_Ehdr *header) {
  bool has_interpreter = false, has_dynamic = false;
  Elf64_Phdr dynamic;
  need(!header->e_phnum || header->e_phentsize == sizeof(Elf64_Phdr));
  need(is_inside(header->e_phoff, header->e_phnum * sizeof dynamic, file_size));
  for (size_t i = 0; i < header->e_phnum; i++) {
    Elf64_Phdr segment = segment_at(header, i);
    need(is_inside(segment.p_offset, segment.p_filesz, file_size));
    if (segment.p_type == PT_INTERP) {
      need(!has_interpreter);
      has_interpreter = true;
      text_at(segment.p_offset, segment.p_offset + segment.p_filesz);
    } else if (segment.p_type == PT_DYNAMIC) {
      need(!has_dynamic);
      has_dynamic = true;
      dynamic = segment;
    } else if (segment.p_type == PT_NOTE) {
      need(segment.p_filesz <= MOST_NOTES); /* of thousands of segments */
      check_notes(read_at(&names, segment.p_offset, segment.p_filesz), segment.p_filesz);
    }
  }
  if (has_dynamic)
    check_dynamic(header, &dynamic);
}

static bool is_searched(const Elf64_Shdr *section, const char *name) {
  if ((section->sh_flags & (SHF_ALLOC | SHF_EXECINSTR)) != SHF_ALLOC)
    return false;
  switch (section->sh_type) {
  case SHT_NULL:
  case SHT_NOBITS:
  /* The linker's. */
  case SHT_SYMTAB:
  case SHT_STRTAB:
  case SHT_RELA:
  case SHT_HASH:
  case SHT_DYNAMIC:
  case SHT_REL:
  case SHT_DYNSYM:
  case SHT_GNU_HASH:
    return false;
  }
  /* What unwinds the stack. */
  return strcmp(name, ".eh_frame") && strcmp(name, ".eh_frame_hdr") &&
         strcmp(name, ".gcc_except_table");
}

static int in_order(const void *left, const void *right) {
  const struct place *a = left, *b = right;
  if (a->start != b->start)
    return a->start < b->start ? -1 : 1;
  return a->end < b->end ? -1 : a->end > b->end;
}

size_t read_places(struct place places[MOST_PLACES]) {
  Elf64_Ehdr header = header_at(0, file_size);
  need(header.e_machine != EM_OF_CUDA && header.e_shstrndx);
  text_left = file_size < 1 << 22 ? 16 * file_size : 1 << 26;
  check_segments(&header);
  size_t found = 0;
  Elf64_Shdr table = section_at(0, &header, header.e_shstrndx);
  need(is_inside(table.sh_offset, table.sh_size, file_size));
  for (size_t i = 0; i < header.e_shnum; i++) {
    Elf64_Shdr section = section_at(0, &header, i);
    if (section.sh_type != SHT_NULL && section.sh_type != SHT_NOBITS)
      need(is_inside(section.sh_offset, section.sh_size, file_size));
    need(section.sh_name < table.sh_size);
    const char *name = text_at(table.sh_offset + section.sh_name, table.sh_offset + table.sh_size);
    if (is_searched(&section, name)) {
      need(found < MOST_PLACES && *name);
      places[found++] = (struct place){section.sh_offset, section.sh_offset + section.sh_size,
                                       !strcmp(name, ".nv_fatbin")       ? HOST
                                       : !strcmp(name, "__nv_relfatbin") ? RELOCATABLE
                                                                         : EMBEDDED};
    }
  }
  qsort(places, found, sizeof *places, in_order);
  for (size_t i = 1; i < found; i++)
    need(places[i - 1].end <= places[i].start);
  return found;
}
