/* The table and the sentence of vllm_nix.gpu.report. */
#include "archs.h"

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { CELLS = 4, MOST = 1 << 16 };
struct text {
  size_t size;
  char bytes[MOST];
};
static const char *const NAMES[ROLES] = {"host", "embedded", "relocatable", "stub"};

__attribute__((format(printf, 2, 3))) static void add(struct text *text, const char *format, ...) {
  va_list values;
  va_start(values, format);
  int size = vsnprintf(text->bytes + text->size, MOST - text->size, format, values);
  va_end(values);
  if (size < 0 || (size_t)size >= MOST - text->size)
    leave_to_python();
  text->size += (size_t)size;
}

static size_t width(const char *cell) {
  size_t found = 0;
  for (; *cell; cell++)
    found += (*cell & 0xC0) != 0x80; /* all but UTF-8's later bytes */
  return found;
}

static void add_arch(struct text *list, const struct sort *sort) {
  static const char *const prefixes[] = {"sm", "lto", "compute"};
  add(list, "%s%s_%u%s", list->size ? ", " : "", prefixes[sort->kind], sort->sm, sort->suffix);
}

static void add_code(struct text *list, const struct sort *sort, enum role role) {
  add_arch(list, sort);
  add(list, " \u00D7%u", sort->count[role]);
  if (sort->kind == PTX)
    add(list, " (PTX %u.%u)", sort->isa[0], sort->isa[1]);
}

static void add_line(struct text *output, const char *const cells[CELLS],
                     const size_t widths[CELLS]) {
  for (size_t i = 0; i < CELLS; i++)
    add(output, "%s%s%*s", i ? "  " : "", cells[i], (int)(widths[i] - width(cells[i])), "");
  while (output->bytes[output->size - 1] == ' ')
    output->size--;
  add(output, "\n");
}

static void add_summary(struct text *output, const struct sort *sorts, size_t number) {
  static struct text arches;
  const struct sort *last = NULL;
  for (const struct sort *one = sorts; one < sorts + number; one++) {
    if (!one->count[HOST] && !one->count[EMBEDDED])
      continue;
    if (!last || last->kind != one->kind || last->sm != one->sm || *last->suffix != *one->suffix)
      add_arch(&arches, one); /* once for all releases of PTX */
    last = one;
  }
  add(output, "1 file with GPU code, 0 without; code to run: %s\n",
      arches.size ? arches.bytes : "none that runs");
}

/* For people whose terminal is narrower, rich wraps it. */
static bool fits(const size_t widths[CELLS]) {
  struct winsize window;
  if (!isatty(STDOUT_FILENO))
    return true;
  const char *columns = getenv("COLUMNS");
  if ((columns && *columns) || ioctl(STDOUT_FILENO, TIOCGWINSZ, &window) || !window.ws_col)
    return false;
  size_t whole = 2 * (CELLS - 1);
  for (size_t i = 0; i < CELLS; i++)
    whole += widths[i];
  return whole <= window.ws_col;
}

/* That nobody reads, or a limit to the file's size, is an error as in Python, and no signal. */
static void print(const struct text *output) {
  sighandler_t pipe = signal(SIGPIPE, SIG_IGN), size = signal(SIGXFSZ, SIG_IGN);
  for (size_t done = 0; done < output->size;) {
    ssize_t written = write(STDOUT_FILENO, output->bytes + done, output->size - done);
    if (written < 0) {
      signal(SIGPIPE, pipe);
      signal(SIGXFSZ, size);
      leave_to_python(); /* it says why */
    }
    done += (size_t)written;
  }
}

void print_table(const char *path, const struct sort *sorts, size_t number) {
  static struct text output, code[ROLES][2];
  if (!number)
    add(&output, "no GPU code in %s\n", path);
  else {
    const char *lines[1 + ROLES][CELLS] = {{"file", "role", "cubins", "PTX and IR"}};
    size_t count = 1, widths[CELLS] = {0};
    for (enum role role = HOST; role < ROLES; role++) {
      bool is_there = false;
      for (const struct sort *one = sorts; one < sorts + number; one++)
        if (one->count[role]) {
          add_code(&code[role][one->kind != CUBIN], one, role);
          is_there = true;
        }
      if (is_there) {
        const char *line[CELLS] = {count == 1 ? path : "", NAMES[role], code[role][0].bytes,
                                   code[role][1].bytes};
        memcpy(lines[count++], line, sizeof line);
      }
    }
    for (size_t i = 0; i < count; i++)
      for (size_t cell = 0; cell < CELLS; cell++)
        if (width(lines[i][cell]) > widths[cell])
          widths[cell] = width(lines[i][cell]);
    if (!fits(widths))
      leave_to_python();
    for (size_t i = 0; i < count; i++)
      add_line(&output, lines[i], widths);
    add_summary(&output, sorts, number);
  }
  print(&output);
}
