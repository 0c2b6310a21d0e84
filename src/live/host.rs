//! The questions about a host itself. Each part is one snippet, and most use only what a minimal Debian has.

use super::{readers, seen};
use crate::policy::kernel_settings;
use crate::policy::live::LiveHost;
use crate::resource::read::{Answers, Query};
use crate::sh;
use crate::shell::Script;

type Tools = &'static [(&'static str, &'static str)];

/// A part of a host that is read by itself: the key of its answer, and the programs that it needs.
struct Part(&'static str, Tools);

const AWK: (&str, &str) = ("awk", "mawk");
const SSHD: Part = Part("host-sshd", &[("sshd", "openssh-server"), ("ssh-keygen", "openssh-client"), AWK]);
const SETTINGS: Part = Part("host-settings", &[("grep", "grep")]);
const CARDS: Part = Part("host-cards", &[]);
const MOUNTS: Part = Part("host-mounts", &[]);
const DISKS: Part = Part("host-disks", &[("lsblk", "util-linux")]);
const APPARMOR: Part = Part("host-apparmor", &[]);
const ACCOUNTS: Part = Part("host-accounts", &[AWK]);
const UMASK: Part = Part("host-umask", &[]);
const SUDO: Part = Part("host-sudo", &[]);
const SOURCES: Part = Part("host-sources", &[("sed", "sed")]);
const UNSIGNED: Part = Part("host-unsigned", &[("apt-config", "apt")]);
const TIME: Part = Part("host-time", &[("systemctl", "systemd")]);
const LOGS: Part = Part("host-logs", &[("systemctl", "systemd"), ("find", "findutils")]);
const TRAIL: Part = Part("host-trail", &[("systemctl", "systemd")]);
const CERTIFICATES: Part = Part("host-certificates", &[("openssl", "openssl"), ("find", "findutils")]);
const SOFTWARE: Part = Part("host-software", &[("dpkg-query", "dpkg")]);

/// Whether the packages of a host are listed too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Software {
    /// They are.
    Listed,
    /// They are not.
    LeftOut,
}

/// Returns the questions.
pub fn queries(software: Software) -> Vec<Query> {
    let constant = [
        (SSHD, SSHD_SCRIPT),
        (CARDS, CARDS_SCRIPT),
        (MOUNTS, "cat /proc/self/mountinfo"),
        (DISKS, "lsblk -J -p -o NAME,TYPE,MOUNTPOINT"),
        (APPARMOR, APPARMOR_SCRIPT),
        (ACCOUNTS, ACCOUNTS_SCRIPT),
        (UMASK, UMASK_SCRIPT),
        (SUDO, SUDO_SCRIPT),
        (SOURCES, SOURCES_SCRIPT),
        (
            UNSIGNED,
            "_t=$(apt-config dump) || exit 1\nprintf '%s\\n' \"$_t\" | grep -iE '^(APT|Acquire)::[A-Za-z:]*Allow' || :",
        ),
        (TIME, TIME_SCRIPT),
        (LOGS, LOGS_SCRIPT),
        (TRAIL, TRAIL_SCRIPT),
        (CERTIFICATES, CERTIFICATES_SCRIPT),
    ];
    let ask = |Part(key, tools): Part, script| Query::Snippet { key: key.to_owned(), tools: tools.to_vec(), script };
    let mut queries: Vec<Query> =
        constant.into_iter().map(|(part, script)| ask(part, Script::constant(script))).collect();
    queries.push(ask(SETTINGS, settings_script()));
    if software == Software::Listed {
        let script = "dpkg-query -W -f '${db:Status-Abbrev}\\t${binary:Package}\\t${Version}\\n'";
        queries.push(ask(SOFTWARE, Script::constant(script)));
    }
    queries
}

/// Reads the answers.
pub fn parse(answers: &Answers) -> LiveHost {
    fn part<T>(
        answers: &Answers,
        Part(key, tools): &Part,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> crate::policy::live::Seen<T> {
        seen(answers, key, tools, parse)
    }
    LiveHost {
        sshd: part(answers, &SSHD, readers::sshd),
        settings: part(answers, &SETTINGS, |text| Ok(readers::settings(text))),
        cards: part(answers, &CARDS, |text| Ok(readers::cards(text))),
        mounts: part(answers, &MOUNTS, readers::mounts),
        disks: part(answers, &DISKS, readers::disks),
        apparmor: part(answers, &APPARMOR, readers::apparmor),
        accounts: part(answers, &ACCOUNTS, readers::accounts),
        umask: part(answers, &UMASK, |text| Ok(readers::umask(text))),
        sudo: part(answers, &SUDO, readers::sudo),
        sources: part(answers, &SOURCES, |text| Ok(readers::sources(text))),
        unsigned: part(answers, &UNSIGNED, |text| Ok(readers::unsigned(text))),
        time: part(answers, &TIME, |text| Ok(readers::time(text))),
        logs: part(answers, &LOGS, |text| Ok(readers::logs(text))),
        trail: part(answers, &TRAIL, |text| Ok(readers::trail(text))),
        certificates: part(answers, &CERTIFICATES, readers::certificates),
        software: part(answers, &SOFTWARE, |text| Ok(readers::software(text))),
    }
}

fn settings_script() -> Script {
    let mut paths: Vec<String> =
        kernel_settings().map(|name| format!("/proc/sys/{}", name.replace('.', "/"))).collect();
    paths.sort_unstable();
    // A shell's `read` takes one byte at a time, and the kernel gives numbers in one piece only.
    sh!("grep -sH '' -- {} || :", Script::words(paths))
}

/// What is in force for everybody, what `Match` blocks say beside, and the sort of each key. `sshd -T` writes nothing.
const SSHD_SCRIPT: &str = r#"_t=$(sshd -T 2>&1) || { printf '%s\n' "$_t"; exit 1; }
printf '%s\n' "$_t"
echo '== matched'
set -- /etc/ssh/sshd_config
for _f in /etc/ssh/sshd_config.d/*.conf; do [ ! -r "$_f" ] || set -- "$@" "$_f"; done
awk 'FNR == 1 { m = "" } { k = tolower($1) } k == "match" { $1 = ""; m = $0; next }
m != "" && NF && k !~ /^#/ { print m "\t" $0 }' "$@" || exit 1
echo '== keys'
printf '%s\n' "$_t" | while read -r _k _v; do
  [ "$_k" = hostkey ] && [ -r "$_v" ] || continue
  printf '%s\t' "$_v"; ssh-keygen -l -f "$_v" || exit 1
done"#;

const CARDS_SCRIPT: &str = r#"for _f in /proc/sys/net/ipv[46]/conf/*/accept_redirects /proc/sys/net/ipv4/conf/*/send_redirects; do
  [ ! -r "$_f" ] || { IFS= read -r _v <"$_f"; printf '%s %s\n' "$_v" "$_f"; }
done"#;

const APPARMOR_SCRIPT: &str = r#"_on=N
[ ! -r /sys/module/apparmor/parameters/enabled ] || read -r _on </sys/module/apparmor/parameters/enabled
echo "$_on"
[ "$_on" != Y ] || cat /sys/kernel/security/apparmor/profiles"#;

/// Of a password only the sort of its hash leaves the host.
const ACCOUNTS_SCRIPT: &str = r#"[ -r /etc/shadow ] || { echo '/etc/shadow cannot be read'; exit 1; }
awk -F: 'function sort_of(h,  p) {
  if (h == "") return "empty"
  if (substr(h, 1, 1) == "$") { split(h, p, "$"); return "$" p[2] "$" }
  if (h ~ /^[!*]/) return "locked"
  return length(h) == 13 ? "des" : "other"
}
FILENAME == "/etc/shadow" { s[$1] = sort_of($2); next }
{ print "account:" $1 ":" $3 ":" $7 ":" ($2 == "x" ? ($1 in s ? s[$1] : "locked") : sort_of($2)) }' /etc/shadow /etc/passwd || exit 1
while IFS=: read -r _n _x _u _g _c _h _s; do
  for _f in "$_h/.ssh/authorized_keys" "$_h/.ssh/authorized_keys2" "/etc/ssh/authorized_keys/$_n" "/etc/ssh/authorized_keys.d/$_n"; do
    [ ! -s "$_f" ] || printf 'keys:%s\n' "$_n"
  done
done </etc/passwd"#;

const UMASK_SCRIPT: &str = r#"for _f in /etc/login.defs /etc/profile /etc/bash.bashrc /etc/profile.d/*.sh; do
  [ -r "$_f" ] || continue
  while read -r _k _v _x; do
    case $_k in umask|UMASK) printf '%s\t%s\n' "$_f" "$_v";; esac
  done <"$_f"
done
[ ! -r /etc/pam.d/common-session ] || while read -r _k _c _m _x; do
  case $_k:$_m in session:*pam_umask.so) echo pam;; esac
done </etc/pam.d/common-session"#;

/// `cvtsudoers` comes with sudo, follows what is included, and puts what aliases stand for in their place.
const SUDO_SCRIPT: &str = r#"_p=$(command -v sudo) || { echo none; exit 0; }
command -v cvtsudoers >/dev/null 2>&1 || { echo 'there is sudo without `cvtsudoers`'; exit 1; }
stat -L -c %a "$_p" || exit 1
cvtsudoers -e -f json /etc/sudoers 2>/dev/null || { echo '/etc/sudoers has an error: `visudo -c` shows it'; exit 1; }"#;

/// Users and passwords in URIs stay on the host.
const SOURCES_SCRIPT: &str = r#"for _f in /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources; do
  [ -e "$_f" ] || continue
  printf '== %s\n' "$_f"
  sed -e 's#://[^/@[:space:]]*@#://#g' -e '/^[[:space:]]*#/d' -- "$_f" || exit 1
  echo
done"#;

const TIME_SCRIPT: &str = r#"for _s in chrony systemd-timesyncd ntpsec ntp openntpd; do
  ! systemctl is-active --quiet "$_s" || printf 'service %s\n' "$_s"
done
for _f in /etc/chrony/chrony.conf /etc/chrony/conf.d/*.conf /etc/chrony/sources.d/*.sources /etc/ntpsec/ntp.conf /etc/ntp.conf /etc/openntpd/ntpd.conf /etc/systemd/timesyncd.conf /etc/systemd/timesyncd.conf.d/*.conf; do
  [ -r "$_f" ] || continue
  while IFS= read -r _l; do
    case $_l in server*|pool*|peer*|local*|NTP=*) printf 'line %s %s\n' "$_f" "$_l";; esac
  done <"$_f"
done
if systemctl is-active --quiet chrony && command -v chronyc >/dev/null 2>&1; then
  printf 'tracking %s\n' "$(chronyc -n -c tracking 2>/dev/null)"
fi"#;

const LOGS_SCRIPT: &str = r#"! systemctl is-active --quiet systemd-journald || echo journald
! systemctl is-active --quiet rsyslog || echo rsyslog
[ ! -d /var/log/journal ] || echo kept
for _f in /etc/systemd/journald.conf /etc/systemd/journald.conf.d/*.conf; do
  [ -r "$_f" ] || continue
  while IFS= read -r _l; do case $_l in Storage=*) printf 'journald %s\n' "$_l";; esac; done <"$_f"
done
for _f in /etc/rsyslog.conf /etc/rsyslog.d/*.conf; do
  [ -r "$_f" ] || continue
  while IFS= read -r _l; do case $_l in ''|'#'*) ;; *) printf 'rsyslog %s\n' "$_l";; esac; done <"$_f"
done
find /var/log -xdev -type f -perm /006 \( -name '*syslog*' -o -name 'auth.log*' -o -name 'kern.log*' -o -name 'daemon.log*' \
  -o -name 'user.log*' -o -name 'cron.log*' -o -name 'messages*' -o -name 'debug*' -o -path '*/audit/*' \) -printf 'open %m %p\n'"#;

const TRAIL_SCRIPT: &str = r#"_p=$(command -v auditd) || exit 0
echo installed
! systemctl is-active --quiet auditd || echo running
_t=$(auditctl -l 2>/dev/null) || exit 0
echo '== rules'
printf '%s\n' "$_t""#;

/// At most 200 files: who has more keeps them elsewhere. Only the first certificate of a file is looked at.
const CERTIFICATES_SCRIPT: &str = r#"find /etc -xdev \( -path /etc/ssl/certs -o -path /etc/ca-certificates \) -prune -o \
  -type f \( -name '*.pem' -o -name '*.crt' -o -name '*.cer' \) -size -256k -print | head -n 200 | while IFS= read -r _f; do
  ! grep -q -e '-----BEGIN CERTIFICATE-----' -- "$_f" || {
    printf '== %s\n' "$_f"
    openssl x509 -in "$_f" -noout -nameopt RFC2253,-esc_msb,utf8 -subject -issuer -startdate -enddate -dateopt iso_8601 -text 2>&1 |
      grep -E '^(subject|issuer|notBefore|notAfter)=|CA:TRUE|Signature Algorithm|Public Key Algorithm|Public-Key:' || echo unreadable
  }
done"#;
