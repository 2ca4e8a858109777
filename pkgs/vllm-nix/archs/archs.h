/* `vllm-nix archs FILE` for a library with nothing out of the ordinary in it; all else is Python's.

   Python's start alone takes longer than cuobjdump takes for a small library. So this prints
   what the command in Python would print, or nothing: whatever is damaged, rare or not asked for in
   just this way is left to it. The format and the reasons are in gpu/fatbin.py and binaries/elf.py
   of the library; python/tests/gpu/test_archs_in_c.py holds the two together. */

#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Runs the command itself, with the same words. Nothing has been printed before. */
_Noreturn void leave_to_python(void);
static inline void need(bool is_right) {
  if (!is_right)
    leave_to_python();
}

/* file.c: what was read of the file last, so that neighbours need not be read again. */
enum { ALIGNED = 8, PAGE = 4096, WINDOW = 1 << 20 };
struct window {
  uint64_t offset;
  size_t size;
  _Alignas(ALIGNED) unsigned char bytes[ALIGNED + WINDOW];
};
extern uint64_t file_size;
void open_file(const char *path);
/* `size` bytes at an offset, until the window's next use. */
const unsigned char *read_at(struct window *window, uint64_t offset, uint64_t size);
/* The same, and how many more there are before `end`; if it has to read, it reads `most`. */
const unsigned char *read_ahead(struct window *window, uint64_t offset, uint64_t end, size_t *size,
                                size_t most);

/* mark.c: fails if the mark of a slim library is damaged. */
void check_notes(const unsigned char *notes, size_t size);

/* elf.c */
enum role { HOST, EMBEDDED, RELOCATABLE, STUB, ROLES };
struct place {
  uint64_t start, end;
  enum role role;
};
enum { MOST_PLACES = 256 };
/* Where a file may have fatbins, in its order; returns how many. */
size_t read_places(struct place places[MOST_PLACES]);
/* Whether a cubin has a section `.text.*`. */
bool has_functions(uint64_t start, uint64_t size);

/* fatbin.c */
enum kind { CUBIN, LTO_IR, PTX }; /* in the order of their names */
struct sort {
  enum kind kind;
  uint32_t sm;
  char suffix[2];
  uint16_t isa[2]; /* of PTX alone */
  unsigned count[ROLES];
};
enum { MOST_SORTS = 256 };
/* What a file's fatbins hold, sorted; returns how many sorts. */
size_t read_fatbins(const struct place *places, size_t number, struct sort sorts[MOST_SORTS]);

/* table.c */
void print_table(const char *path, const struct sort *sorts, size_t number);
