umask 077; cd /; unset ENV BASH_ENV CDPATH LANGUAGE; LC_ALL=C; export PATH LC_ALL; _tmp=
_end() { [ -z "$_tmp" ] || rm -rf -- "$_tmp"; }
trap _end EXIT; trap "exit 129" HUP INT TERM PIPE
exec 9<&0 </dev/null
_in=/proc/$$/fd/9; [ -p "$_in" ] && : <"$_in" || _in=
_from() { if [ -n "$_in" ]; then "$@" <"$_in"; else "$@" <&9; fi; }
_cut() {
  if [ "$1" = 0 ]; then :
  elif [ "$1" -le 1048576 ]; then _from dd bs="$1" count=1 iflag=fullblock status=none
  else _from dd bs=65536 count=$(($1/65536)) iflag=fullblock status=none && _cut $(($1%65536)); fi
}
_file() {
  { _x=$(_from dd bs=65536 count=$(($1/65536)) iflag=fullblock 2>&1 >&8 8>&-) && _r=0 || _r=$?; } 8>&1
  if [ $_r = 0 ]; then _cut $(($1%65536)); return; fi
  echo "$_x" >&2
  _x=${_x%% records in*}; _x=${_x##*"
"}; _x=${_x%%+*}
  [ "$_x" -ge 0 ] 2>/dev/null || { : >"$_tmp/broken"; exit 95; }
  _cut $(($1-_x*65536)) >/dev/null
  return $_r
}
_mark() { printf "\n%s %s\n" "$_m" "$*" || exit 95; }
_take() {
  _k=$1; shift
  if [ "$_t" = 0 ] || read -r _u <"$_tmp/taken" && [ $((_u+_k+33)) -gt "$_t" ]; then
    echo "_take $_k: the request brought no such payload" >&2; return 95
  fi
  echo $((_u+_k+33)) >"$_tmp/taken" || exit 95
  if [ $# = 0 ]; then
    if [ "$_k" -le 1048576 ]; then if _cut "$_k"; then _r=0; else _r=$?; fi
    elif [ -f /proc/self/fd/1 ]; then if _file "$_k"; then _r=0; else _r=$?; fi
    elif _cut "$_k" | { cat || { _r=$?; cat >/dev/null; exit $_r; }; }; then _r=0; else _r=$?; fi
  else
    if _cut "$_k" | { if "$@"; then _r=0; else _r=$?; fi; cat >/dev/null; exit $_r; }; then _r=0; else _r=$?; fi
  fi
  _from read -r _e && [ "$_e" = "$_m" ] || { : >"$_tmp/broken"; exit 95; }
  return $_r
}
[ -z "$_hello" ] || printf "\n%s>\n" "$_hello"
while read -r _n _m _t <&9; do
  if [ "$_n" -le 1048576 ]; then _s=$(exec dd bs="$_n" count=1 iflag=fullblock status=none <&9) || exit $?
  else _s=$(_cut "$_n") || exit $?; fi
  read -r _e <&9 && [ "$_e" = "$_m" ] || exit 98
  printf "\n%s>\n" "$_m" || exit 99
  if [ "$_t" = 0 ]; then ( eval "$_s" ) 9<&-; _r=$?
  else
    for _d in /run /var/lib/provision /dev/shm /tmp; do
      [ -n "$_tmp" ] || _tmp=$(mktemp -d "$_d/provision.XXXXXXXXXX" 2>/dev/null) || continue
      if echo 0 2>/dev/null >"$_tmp/taken"; then break; fi
      rm -rf -- "$_tmp"; _tmp=
    done
    [ -n "$_tmp" ] || exit 97
    if [ -n "$_in" ]; then ( eval "$_s" ) 9<&-; else ( eval "$_s" ); fi; _r=$?
    if [ -e "$_tmp/broken" ]; then exit 98; fi
    read -r _u <"$_tmp/taken" || exit 98
    _cut $((_t-_u)) >/dev/null
  fi
  printf "\n%s.\n" "$_m" >&2; printf "\n%s.%s\n" "$_m" "$_r" || exit 99
done
