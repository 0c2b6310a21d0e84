//! The shell text of a link's change: what keeps its state, what has networkd make the new one, and what brings the old one back.

use super::SETTINGS;
use super::live::{Differences, UNIT};
use super::render::ends;
use super::wanted::{Wanted, Way, broadcast, rule_words};
use crate::change::Guard;
use crate::model::inventory::{LinkRule, LinkSort};
use crate::resource::managed_file::backup_name;
use crate::sh;
use crate::shell::Script;

/// What `systemctl enable` enables with networkd.
const UNITS: [&str; 4] =
    [UNIT, "systemd-networkd.socket", "systemd-network-generator.service", "systemd-networkd-wait-online.service"];

/// How often the step looks whether the link is as wanted, a fifth of a second apart, before it gives up.
const LOOKS: u32 = 100;

/// What a change keeps of a link, so that it can be brought back.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kept<'a> {
    /// The link.
    pub name: &'a str,
    /// The files that the change may touch.
    pub files: &'a [String],
    /// The priorities of the rules that the change may touch.
    pub priorities: &'a [String],
    /// Whether the link is the same afterwards.
    pub becomes: Becomes,
}

/// Whether a link is the same after a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Becomes {
    /// It is.
    Changed,
    /// It is removed, and maybe made anew.
    Another,
}

impl Kept<'_> {
    /// Keeps what the link has, and how networkd stands, in `$_backup`. What was kept before stays.
    pub fn save(self) -> Script {
        let mut script = sh!("_link={}", self.name);
        script.push(&Script::constant(
            r#"[ -d "$_backup" ] || mkdir -p -m 0700 -- "$_backup"
_was=$_backup/link-$_link"#,
        ));
        for file in self.files {
            script.push(&sh!("_keep {} {}", file, backup_name(file)));
        }
        script.push(&sh!(
            r#"[ -e "$_was.boot" ] || {
  if systemctl is-active --quiet {}; then : >"$_was.runs"; fi
  for _u in {}; do
    _e=$(systemctl is-enabled -- "$_u" 2>/dev/null) || :
    printf '%s %s\n' "${_e:-unknown}" "$_u"
  done >"$_was.units"
  if ip -d -o link show dev "$_link" >"$_was.link" 2>/dev/null; then
    ip addr save dev "$_link" >"$_was.addr"
    ip -4 route save table all type unicast dev "$_link" >"$_was.route4"
    ip -6 route save table all type unicast dev "$_link" >"$_was.route6" 2>/dev/null || :
  else
    rm -f -- "$_was.link"
  fi
  cat /proc/sys/kernel/random/boot_id >"$_was.boot"
}"#,
            UNIT,
            Script::words(UNITS)
        ));
        if !self.priorities.is_empty() {
            script.push(&Script::constant(
                r#"for _f in -4 -6; do [ -e "$_was.rules$_f" ] || ip $_f rule show >"$_was.rules$_f"; done"#,
            ));
        }
        if self.becomes == Becomes::Another {
            script.push(&Script::constant(
                r#"if [ -e "$_was.link" ] && { [ ! -e "$_was.runs" ] || [ ! -e "/etc/systemd/network/50-$_link.netdev" ]; }; then
  echo "$_link was not made by systemd-networkd, so it could not be brought back: remove it by hand first" >&2
  exit 1
fi"#,
            ));
        }
        script
    }

    /// Brings back what `save` has kept. After a reboot only the files matter: what boots reads them.
    pub fn restore(self) -> Script {
        let mut script = sh!("_link={}\n_was=$_backup/link-$_link", self.name);
        for file in self.files {
            script.push(&sh!("_restore {} {}", file, backup_name(file)));
        }
        let is_another = self.becomes == Becomes::Another;
        if is_another {
            script.push(&Script::constant("ip link delete dev \"$_link\" 2>/dev/null || :"));
        }
        // Nothing here waits for a unit that is yet to start: at boot they may be waiting for this.
        script.push(&sh!(
            r#"while read -r _e _u; do
  case $_e in
    disabled) systemctl disable --quiet -- "$_u" 2>/dev/null || : ;;
    masked) systemctl disable --quiet -- "$_u" 2>/dev/null || :; systemctl mask --quiet -- "$_u" || : ;;
  esac
done <"$_was.units"
if systemctl is-active --quiet {}; then
  if [ -e "$_was.runs" ]; then systemctl restart -- {}; else systemctl stop -- systemd-networkd.socket {}; fi
elif [ ! -e "$_was.runs" ]; then
  systemctl stop --no-block -- systemd-networkd.socket {} 2>/dev/null || :
fi
[ "$(cat /proc/sys/kernel/random/boot_id)" = "$(cat "$_was.boot")" ] || exit 0"#,
            UNIT,
            UNIT,
            UNIT,
            UNIT
        ));
        if !self.priorities.is_empty() {
            // `ip` takes what it has printed, but for the colon after the priority.
            script.push(&sh!(
                r#"_rules() { while IFS=': ' read -r _p _l; do case {} in *" $_p "*) printf '%s %s\n' "$_p" "$_l";; esac; done; }
_alter() { while read -r _p _l; do ! grep -qxF -- "$_p $_l" "$3" || continue; set -f; ip "$1" rule "$2" priority "$_p" $_l || :; set +f; done; }
for _f in -4 -6; do
  _rules <"$_was.rules$_f" >"$_was.former"; ip $_f rule show | _rules >"$_was.now"
  _alter $_f del "$_was.former" <"$_was.now"; _alter $_f add "$_was.now" <"$_was.former"
done"#,
                format!(" {} ", self.priorities.join(" "))
            ));
        }
        script.push(&Script::constant(
            "if [ ! -e \"$_was.link\" ]; then ip link delete dev \"$_link\" 2>/dev/null || :; exit 0; fi",
        ));
        // A link that was made anew has another number, to which nothing can be brought back; networkd configures it.
        let rest = if is_another { Script::default() } else { Script::constant(BRING_BACK) };
        sh!("(\n{}\n)", script.then(rest))
    }

    /// Returns what the host saves before a change, and how it goes back by itself.
    pub fn guard(self) -> Guard {
        Guard { save: self.save(), restore: self.restore() }
    }
}

/// Gives a link what it had.
const BRING_BACK: &str = r#"_all=$(cat "$_was.link")
_field() { set -f; set -- "$1" $_all; set +f; _want=$1; shift; while [ $# -gt 1 ]; do [ "$1" != "$_want" ] || { echo "$2"; return; }; shift; done; }
# networkd has read the former files by now, or does within a moment: what it still does, it does first.
[ ! -e "$_was.runs" ] || sleep 2
_master=$(_field master)
if [ -n "$_master" ]; then ip link set dev "$_link" master "$_master" || :; else ip link set dev "$_link" nomaster 2>/dev/null || :; fi
ip link set dev "$_link" mtu "$(_field mtu)" || :
_mode=$(_field addrgenmode); [ -z "$_mode" ] || ip link set dev "$_link" addrgenmode "$_mode" 2>/dev/null || :
_stp=$(_field stp_state); [ -z "$_stp" ] || ip link set dev "$_link" type bridge stp_state "$_stp" || :
case $_all in *[,\<]UP[,\>]*) ip link set dev "$_link" up;; *) ip link set dev "$_link" down;; esac
ip addr flush dev "$_link" scope global
ip addr restore <"$_was.addr" 2>/dev/null || :
ip -4 route restore <"$_was.route4" 2>/dev/null || :
[ ! -s "$_was.route6" ] || ip -6 route restore <"$_was.route6" 2>/dev/null || :"#;

/// Whether networkd has to be started anew to read its own settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Settings {
    /// They are new.
    Changed,
    /// It has them.
    Known,
}

/// Has networkd read the files, removes what it leaves, and waits until the link is as wanted.
pub(super) fn configure(wanted: &Wanted, differences: &Differences, file: &str, settings: Settings) -> Script {
    let mut script = sh!("_link={}; _file={}", wanted.name, file);
    script.push(&Script::constant(r#"_line() { ip -d -o link show dev "$_link" 2>/dev/null; }"#));
    if wanted.is_physical() {
        script.push(&Script::constant(
            r#"_line >/dev/null || {
  echo "the host has no interface $_link; it has" $(ip -o link | while read -r _ _l _; do echo "${_l%%[@:]*}"; done) >&2
  exit 1
}"#,
        ));
    }
    if !differences.unheard.is_empty() {
        script.push(&hear(wanted, differences));
    }
    script.push(&read_files(wanted, differences, settings));
    script.push(&look(wanted, differences));
    script.push(&tidy(wanted, differences));
    script.push(&sh!(
        r#"_n=0; _good=0
while :; do
  _look
  if [ -z "$_missing" ]; then _good=$((_good+1)); [ $_good -lt 3 ] || break
  else
    _good=0; _n=$((_n+1))
    [ $_n -lt {} ] || { echo "$_link is not as wanted: $_missing" >&2; networkctl status --no-pager --lines=5 -- "$_link" >&2 || :; exit 1; }
    _tidy
    [ $((_n % 25)) -ne 0 ] || _again
  fi
  sleep 0.2
done"#,
        LOOKS
    ));
    script
}

/// Gives addresses the broadcast address of their network, at once and with the routes over them. networkd cannot: the
/// kernel does not change that of an address that is there, and networkd 252 would try for ever.
fn hear(wanted: &Wanted, differences: &Differences) -> Script {
    let name = &wanted.name;
    let mut batch = String::new();
    for address in &differences.unheard {
        let broadcast = broadcast(*address).map(|broadcast| format!(" broadcast {broadcast}")).unwrap_or_default();
        batch.push_str(&format!("addr del {address} dev {name}\naddr add {address}{broadcast} dev {name}\n"));
    }
    sh!(
        r#"ip -4 route save table all type unicast dev "$_link" >"$_backup/link-$_link.ways"
printf %s {} | ip -force -batch -
ip -4 route restore <"$_backup/link-$_link.ways" 2>/dev/null || :"#,
        batch
    )
}

/// Has networkd read its files, and defines `_again`, which has it do so once more.
fn read_files(wanted: &Wanted, differences: &Differences, settings: Settings) -> Script {
    // networkd takes a file that it knows for read, unless it is newer. What is part of a link that is made, or carries it,
    // must be read once more too.
    let files = if wanted.is_physical() {
        Script::constant("\"$_file\"")
    } else {
        Script::constant("/etc/systemd/network/50-*.network")
    };
    let script = sh!(
        r#"_again() {
  touch -c -- {}
  networkctl reload
  ! grep -qsx ADMIN_STATE=failed "/run/systemd/netif/links/$_number" || networkctl reconfigure -- "$_link"
}
systemctl is-enabled --quiet -- {} || { systemctl unmask --quiet -- {}; systemctl enable --quiet -- {}; }
_number="#,
        files,
        UNIT,
        UNIT,
        UNIT
    );
    let read = match settings {
        // Once for all links of a run, unless somebody else has started it anew.
        Settings::Changed => sh!(
            r#"_read() { cat {}; systemctl show --property=ActiveState,InvocationID -- {}; }
if [ "$(_read)" = "$(cat "$_backup/networkd-read" 2>/dev/null)" ]; then _again
else systemctl restart -- {}; _read >"$_backup/networkd-read"; fi"#,
            SETTINGS,
            UNIT,
            UNIT
        ),
        Settings::Known => {
            sh!("if systemctl is-active --quiet {}; then _again; else systemctl start -- {}; fi", UNIT, UNIT)
        }
    };
    if differences.only_new.is_empty() {
        return script.then(read);
    }
    // networkd keeps what it was told of a VLAN with the link that carries it, and would make the old one again.
    script.then(sh!(
        r#"if ip link show dev "$_link" >/dev/null 2>&1; then ip link delete dev "$_link"; systemctl restart -- {}
else
{}
fi"#,
        UNIT,
        read
    ))
}

/// Defines `_look`, which says in `$_missing` what of the link is not as wanted.
fn look(wanted: &Wanted, differences: &Differences) -> Script {
    let mut script = Script::constant(
        r#"_address() { case " $(ip -o addr show dev "$_link" to "${1%/*}" 2>/dev/null) " in *dadfailed*) return 1;; *"/${1#*/} "*) return 0;; esac; return 1; }
_route() { _family=$1; shift; [ -n "$(ip "$_family" route show dev "$_link" "$@" 2>/dev/null)" ]; }
_twice() { _route "$@" proto static && _route "$@" proto boot; }
_look() {
  _missing=
  _l=$(_line) || { _missing="there is no such link"; return 0; }
  _number=${_l%%:*}; _state=; _follows=
  while IFS='=' read -r _k _v; do
    case $_k in ADMIN_STATE) _state=$_v;; NETWORK_FILE) _follows=$_v;; esac
  done <"/run/systemd/netif/links/$_number" 2>/dev/null || :
  [ "$_follows" = "$_file" ] || { _missing="networkd follows ${_follows:-no file} for it, and not $_file"; return 0; }
  [ "$_state" != failed ] || { _missing='networkd failed to configure it'; return 0; }"#,
    );
    if let Some(mtu) = wanted.mtu {
        script.push(&sh!(
            "  case $_l in *\" mtu {} \"*) ;; *) _missing='its MTU is another'; return 0;; esac",
            mtu.to_string()
        ));
    }
    if let Some(container) = &wanted.part_of {
        script.push(&sh!(
            "  case $_l in *\" master \"{}\" \"*) ;; *) _missing='it is not part of '{}; return 0;; esac",
            container.name(),
            container.name()
        ));
    }
    for address in &wanted.addresses {
        script.push(&sh!(
            "  _address {} || { _missing='the address '{}' is not there'; return 0; }",
            address.to_string(),
            address.to_string()
        ));
    }
    for way in &wanted.routes {
        let (family, words) = way_words(way);
        script.push(&sh!(
            "  _route {} {} || { _missing='the route '{}' is not there'; return 0; }
  ! _twice {} {} || { _missing='the route '{}' is there twice'; return 0; }",
            family,
            Script::words(&words),
            way.to_string(),
            family,
            Script::words(&words),
            way.to_string()
        ));
    }
    if let LinkSort::Bridge { stp } = &wanted.sort {
        script.push(&sh!(
            "  case $_l in *' stp_state '{}' '*) ;; *) _missing='its spanning tree protocol is not as wanted'; return 0; esac",
            u32::from(*stp)
        ));
    }
    for rule in &wanted.rules {
        script.push(&sh!(
            "  [ -n \"$(ip {} rule show {})\" ] || { _missing='the rule of the priority '{}' is not there'; return 0; }",
            rule_family(rule),
            Script::words(rule_words(rule)),
            rule.priority.to_string()
        ));
    }
    if let LinkSort::Wireguard { peers, .. } = &wanted.sort {
        script.push(&Script::constant(
            r#"  case $(wg show "$_link" public-key) in "(none)"|'') _missing='it has no key'; return 0;; esac"#,
        ));
        for peer in peers {
            script.push(&sh!(
                "  wg show \"$_link\" peers | grep -qxF -- {} || { _missing='the peer '{}' is not there'; return 0; }",
                peer.public_key,
                peer.public_key
            ));
        }
    }
    for end in ends(&wanted.sort) {
        script.push(&sh!(
            "  case $(bridge fdb show dev \"$_link\") in *\" dst \"{}\" \"*) ;; *) _missing='its end '{}' is not there'; return 0; esac",
            end.to_string(),
            end.to_string()
        ));
    }
    for way in &differences.extra_routes {
        // One that differs from a wanted one in its metric only cannot be told apart here.
        let is_like = |other: &&Way| (other.to, other.via, &other.table) == (way.to, way.via, &way.table);
        if wanted.routes.iter().any(|other| is_like(&other)) {
            continue;
        }
        let (family, words) = way_words(way);
        script.push(&sh!(
            "  ! _route {} {} || { _missing='the route '{}' is still there'; return 0; }",
            family,
            Script::words(words),
            way.to_string()
        ));
    }
    script.push(&Script::constant(
        "  for _e in $_extra; do ! _address \"$_e\" || { _missing=\"the address $_e is still there\"; return 0; }; done",
    ));
    script.then(Script::constant("}"))
}

/// Returns how `ip` is told the family of a rule.
fn rule_family(rule: &LinkRule) -> &'static str {
    if rule.is_v6() { "-6" } else { "-4" }
}

/// Takes a link out of a file of ifupdown, which would give it addresses of its own at the next boot. The lines stay as
/// comments.
pub(super) fn take_out(name: &str, file: &str) -> Script {
    sh!(
        r##"_file={}; _new=$(mktemp)
trap 'rm -f -- "$_new"' EXIT
awk -v link={} '
  $1 ~ /^(iface|auto|mapping|rename|source|source-directory|template|no-auto-down|no-scripts|allow-.*)$/ { off = $1 == "iface" && $2 == link }
  $1 == "auto" || $1 ~ /^allow-/ {
    rest = ""; found = 0
    for (i = 2; i <= NF; i++) if ($i == link) found = 1; else rest = rest " " $i
    if (found) { print "# provision: " $0; if (rest != "") print $1 rest; next }
  }
  off && NF { print "# provision: " $0; next }
  { print }' "$_file" >"$_new"
cat "$_new" >"$_file""##,
        file,
        name
    )
}

/// Ends a script where the link that another is to be a part of has not been made.
pub(super) fn must_be_there(container: &str, part: &str) -> Script {
    sh!(
        "[ -e {} ] || { echo {} >&2; exit 1; }",
        format!("/sys/class/net/{container}"),
        format!("there is no {container}, of which {part} is to be a part: its task comes before that of {part}")
    )
}

/// Makes the private key of a tunnel, where there is none, so that nobody but the host ever has it.
pub(super) fn make_key(path: &str) -> Script {
    sh!(
        r#"command -v wg >/dev/null || { echo 'the host has no `wg`: install the package wireguard-tools first' >&2; exit 1; }
_key={}
[ -d "${_key%/*}" ] || { echo "the directory ${_key%/*} is not there" >&2; exit 1; }
umask 077
rm -f -- "$_key.new"
wg genkey >"$_key.new"
chown root:systemd-network -- "$_key.new"
chmod 0640 -- "$_key.new"
mv -f -- "$_key.new" "$_key""#,
        path
    )
}

/// Returns the family and the words by which `ip route show` finds a route.
fn way_words(way: &Way) -> (&'static str, Vec<String>) {
    let family = if way.to.addr().is_ipv4() { "-4" } else { "-6" };
    let mut words = vec!["table".to_owned(), way.table.clone(), "exact".to_owned(), way.to.to_string()];
    if let Some(via) = way.via {
        words.extend(["via".to_owned(), via.to_string()]);
    }
    (family, words)
}

/// Returns the words by which `ip route del` finds a route.
fn deleted_words(way: &Way) -> Vec<String> {
    let mut words = vec![way.to.to_string()];
    if let Some(via) = way.via {
        words.extend(["via".to_owned(), via.to_string()]);
    }
    words.extend(["table".to_owned(), way.table.clone()]);
    if let Some(metric) = way.metric {
        words.extend(["metric".to_owned(), metric.to_string()]);
    }
    words
}

/// Defines `_tidy`, which removes what must not be on the link and what networkd leaves there.
fn tidy(wanted: &Wanted, differences: &Differences) -> Script {
    let extra = differences.extra_addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    let mut script = sh!(
        "_extra={}\n_tidy() {\n  for _e in $_extra; do ip addr del \"$_e\" dev \"$_link\" 2>/dev/null || :; done",
        extra
    );
    if wanted.part_of.is_none() {
        script.push(&Script::constant(
            "  case $(_line) in *' master '*) ip link set dev \"$_link\" nomaster 2>/dev/null || :;; esac",
        ));
    }
    script.push(&Script::constant("  ip link set dev \"$_link\" up 2>/dev/null || :"));
    if let LinkSort::Bridge { stp } = &wanted.sort {
        // networkd leaves a bridge that is there as it is.
        script.push(&sh!(
            "  case $(_line) in *' stp_state '{}' '*) ;; *) ip link set dev \"$_link\" type bridge stp_state {} 2>/dev/null || : ;; esac",
            u32::from(*stp),
            u32::from(*stp)
        ));
    }
    for end in &differences.extra_ends {
        script.push(&sh!("  bridge fdb del 00:00:00:00:00:00 dev \"$_link\" dst {} 2>/dev/null || :", end.to_string()));
    }
    for rule in &differences.extra_rules {
        script.push(&sh!("  ip {} rule del {} 2>/dev/null || :", rule_family(rule), Script::words(rule_words(rule))));
    }
    // The kernel keeps a route of networkd's beside the same one of whatever booted the host.
    for way in &wanted.routes {
        let (family, words) = way_words(way);
        script.push(&sh!(
            "  ! _twice {} {} || ip {} route del {} proto boot dev \"$_link\" 2>/dev/null || :",
            family,
            Script::words(words),
            family,
            Script::words(deleted_words(way))
        ));
    }
    for way in &differences.extra_routes {
        let (family, _) = way_words(way);
        script.push(&sh!(
            "  ip {} route del {} dev \"$_link\" 2>/dev/null || :",
            family,
            Script::words(deleted_words(way))
        ));
    }
    script.push(&Script::constant("}\n_tidy"));
    script
}

/// Has networkd forget a link, and removes it, or what it was given where it is a card.
pub(super) fn forget(name: &str, is_made: bool) -> Script {
    let mut script = sh!("_link={}\nif systemctl is-active --quiet {}; then networkctl reload; fi", name, UNIT);
    if !is_made {
        script.push(&Script::constant("ip link set dev \"$_link\" nomaster 2>/dev/null || :"));
        script.push(&Script::constant("ip addr flush dev \"$_link\" scope global 2>/dev/null || :"));
    } else {
        script
            .push(&Script::constant("! ip link show dev \"$_link\" >/dev/null 2>&1 || ip link delete dev \"$_link\""));
    }
    script
}
