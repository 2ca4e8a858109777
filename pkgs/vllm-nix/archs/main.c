/* COMMAND is the path of the command in Python. */
#include "archs.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

static char **words;

void leave_to_python(void) {
  execv(COMMAND, words);
  fprintf(stderr, "vllm-nix: %s: %s; install it again\n", COMMAND, strerror(errno));
  exit(EXIT_FAILURE);
}

static bool ends_with(const char *text, const char *end) {
  size_t size = strlen(text), of_end = strlen(end);
  return size >= of_end && !strcasecmp(text + size - of_end, end);
}

/* What pathlib would write otherwise, a terminal might act on, or names a wheel, is not. */
static bool is_plain(const char *path) {
  for (const char *at = path; *at; at++)
    if (*at < ' ' || *at > '~')
      return false;
  return *path && *path != '-' && strncmp(path, "./", 2) && !strstr(path, "//") &&
         !strstr(path, "/./") && !ends_with(path, "/") && !ends_with(path, "/.") &&
         !ends_with(path, ".whl");
}

/* Whether Python would print in UTF-8, as it does where the locale says nothing (PEP 540). */
static bool prints_utf8(void) {
  if (getenv("PYTHONIOENCODING") || getenv("PYTHONUTF8"))
    return false;
  const char *names[] = {"LC_ALL", "LC_CTYPE", "LANG"}, *locale = NULL;
  for (size_t i = 0; i < 3 && !(locale && *locale); i++)
    locale = getenv(names[i]);
  return !locale || !*locale || !strcmp(locale, "C") || !strcmp(locale, "POSIX") ||
         ends_with(locale, ".UTF-8") || ends_with(locale, ".utf8");
}

int main(int number, char **given) {
  static struct place places[MOST_PLACES];
  static struct sort sorts[MOST_SORTS];
  words = given;
  if (number != 3 || strcmp(given[1], "archs") || !is_plain(given[2]) || !prints_utf8())
    leave_to_python();
  open_file(given[2]);
  size_t found = read_places(places);
  print_table(given[2], sorts, read_fatbins(places, found, sorts));
}
