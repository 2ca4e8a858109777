# makeWrapper PROGRAM WRAPPER [options], wrapProgram PROGRAM [options], with nixpkgs' option names.
makeWrapper() {
  local program=$1 wrapper=$2 name value separator
  shift 2
  [[ -x $program ]] || die "makeWrapper: $program is not a program"
  mkdir -p "${wrapper%/*}"
  {
    echo "#!$SHELL -e"
    local -a before=() after=()
    local argv0=
    while [[ $# -gt 0 ]]; do
      case $1 in
        --set)
          printf 'export %s=%q\n' "$2" "$3"
          shift 3
          ;;
        --set-default)
          printf 'export %s=${%s-%q}\n' "$2" "$2" "$3"
          shift 3
          ;;
        --unset)
          echo "unset $2"
          shift 2
          ;;
        --chdir)
          printf 'cd %q\n' "$2"
          shift 2
          ;;
        --run)
          echo "$2"
          shift 2
          ;;
        --prefix)
          name=$2 separator=$3 value=$4
          printf 'export %s=%q${%s:+%q}$%s\n' "$name" "$value" "$name" "$separator" "$name"
          shift 4
          ;;
        --suffix)
          name=$2 separator=$3 value=$4
          printf 'export %s=$%s${%s:+%q}%q\n' "$name" "$name" "$name" "$separator" "$value"
          shift 4
          ;;
        --add-flags | --add-flag)
          before+=("$2")
          shift 2
          ;;
        --append-flags | --append-flag)
          after+=("$2")
          shift 2
          ;;
        --argv0)
          argv0="-a $(printf %q "$2") "
          shift 2
          ;;
        --inherit-argv0)
          argv0='-a "$0" '
          shift
          ;;
        *) die "makeWrapper: unknown option $1" ;;
      esac
    done
    printf 'exec %s%q %s "$@" %s\n' "$argv0" "$program" "${before[*]}" "${after[*]}"
  } > "$wrapper.new"
  chmod +x "$wrapper.new"
  mv "$wrapper.new" "$wrapper"
}

wrapProgram() {
  local program=$1 hidden
  shift
  hidden=${program%/*}/.${program##*/}-wrapped
  mv "$program" "$hidden"
  makeWrapper "$hidden" "$program" --inherit-argv0 "$@"
}

makeShellWrapper() { makeWrapper "$@"; }
