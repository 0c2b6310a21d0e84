//! A lab for one test: real hosts that are there while the value lives, and gone afterwards, also after a panic.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// The repository.
pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Real hosts, an inventory of them, and a project folder.
pub struct Lab {
    name: String,
    folder: tempfile::TempDir,
    /// How long `wait_until` waits.
    patience: Duration,
}

/// What a run of the tool brought.
#[derive(Debug)]
pub struct Run {
    pub status: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Run {
    /// Fails the test unless the run ended with this exit code.
    #[track_caller]
    pub fn expect(self, status: i32) -> Self {
        assert_eq!(self.status, status, "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("{e}\n{}\n{}", self.stdout, self.stderr))
    }
}

fn script() -> PathBuf {
    root().join("tests/lab/lab")
}

fn text(output: Output) -> Run {
    Run {
        status: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Returns whether real hosts can be had; says so by name where not, and fails where they must be.
pub fn is_possible(test: &str) -> bool {
    let is_root = Command::new("id").arg("-u").output().is_ok_and(|o| o.stdout == b"0\n");
    if is_root {
        return true;
    }
    assert!(std::env::var_os("CI").is_none(), "{test} needs root for its hosts, and in CI nothing is skipped");
    eprintln!("skipped: {test} needs root for its hosts");
    false
}

/// What a host needs to be a hypervisor, for an image that several tests share.
pub const HYPERVISOR: &str = "apparmor,libvirt-daemon-system,libvirt-clients,lvm2,qemu-system-x86,qemu-utils,dnsmasq-base,openssl,ovmf,swtpm-tools";

impl Lab {
    /// Boots `count` plain hosts, `host-001` and so on, and writes an inventory of them.
    pub fn plain(name: &str, count: usize) -> Self {
        Self::plain_with(name, count, "")
    }

    /// Boots plain hosts that have these packages too, from an image of their own, which is made where it is not there.
    pub fn plain_with(name: &str, count: usize, packages: &str) -> Self {
        let lab = Self::of_packages(name, &["plain", "--hosts", &count.to_string()], packages);
        let hosts: String =
            (1..=count).map(|n| format!("  host-{n:03}: {{ssh: {{address: 10.99.0.{n}}}}}\n")).collect();
        lab.write("inventory/hosts.yaml", &format!("defaults: {{ssh: {{user: provision}}}}\nhosts:\n{hosts}"));
        lab
    }

    /// Boots `count` hosts with kernels of their own. Their `eth1` and `eth2` have no addresses; the variable `number` is the host's.
    pub fn own_kernel(name: &str, count: usize) -> Self {
        Self::own_kernel_with(name, count, "")
    }

    /// Boots hosts with kernels of their own that have these packages too.
    pub fn own_kernel_with(name: &str, count: usize, packages: &str) -> Self {
        let hosts = root().join("tests/lab/examples/bond.json");
        let source = [hosts.to_str().unwrap(), "--hosts", &count.to_string(), "--own-kernel"];
        let mut lab = Self::of_packages(name, &source, packages);
        // They are emulated, and boot while other tests run.
        lab.patience = Duration::from_secs(240);
        let hosts: String = (1..=count)
            .map(|n| format!("  host-{n:03}: {{ssh: {{address: 10.99.0.{n}}}, vars: {{number: {n}}}}}\n"))
            .collect();
        lab.write("inventory/hosts.yaml", &format!("defaults: {{ssh: {{user: provision}}}}\nhosts:\n{hosts}"));
        lab
    }

    /// Boots the hosts of an inventory of the repository.
    pub fn of_inventory(name: &str, inventory: &str) -> Self {
        let path = root().join(inventory);
        Self::of(name, &[path.to_str().unwrap()])
    }

    /// Boots the hosts of an inventory of the repository, which have these packages too.
    pub fn of_inventory_with(name: &str, inventory: &str, packages: &str) -> Self {
        let path = root().join(inventory);
        Self::of_packages(name, &[path.to_str().unwrap()], packages)
    }

    /// Boots the hosts of an inventory that is given as text.
    pub fn of_text(name: &str, inventory: &str) -> Self {
        let lab = Self::unbooted(name);
        lab.write("inventory/hosts.yaml", inventory);
        lab.boot(&[lab.path("inventory").to_str().unwrap()], "");
        lab
    }

    fn of(name: &str, source: &[&str]) -> Self {
        Self::of_packages(name, source, "")
    }

    fn of_packages(name: &str, source: &[&str], packages: &str) -> Self {
        let lab = Self::unbooted(name);
        lab.boot(source, packages);
        lab
    }

    /// Returns a lab with a project of its own, and no hosts yet.
    pub fn unbooted(name: &str) -> Self {
        // Several clones may be tested on one machine at the same time; a lab's name has 15 letters at the most.
        let name = format!("{name:.7}-{}", std::process::id());
        Self { name, folder: tempfile::tempdir().unwrap(), patience: Duration::from_secs(60) }
    }

    /// Boots hosts that have these packages too, for which there is an image of its own.
    pub fn boot(&self, source: &[&str], packages: &str) {
        let run = |words: &[&str]| {
            let run = text(self.lab_command(words).env("LAB_INCLUDE", packages).output().unwrap());
            assert_eq!(run.status, 0, "{}", run.stderr);
        };
        if !packages.is_empty() {
            let kernel = source.iter().copied().find(|word| *word == "--own-kernel");
            run(&["setup"].into_iter().chain(kernel).collect::<Vec<_>>());
        }
        run(&[&["up"], source].concat());
    }

    /// Makes the image that hypervisors make machines of, where it is not there, and returns its digest.
    pub fn guest_image(&self) -> String {
        assert_eq!(self.lab(&["setup", "--guest-image"]).status, 0);
        let cache = std::env::var_os("LAB_CACHE").map_or("/var/cache/provision-lab".into(), PathBuf::from);
        let shown: Value = serde_json::from_str(&std::fs::read_to_string(cache.join("guest.json")).unwrap()).unwrap();
        shown["sha256"].as_str().unwrap().to_owned()
    }

    /// Makes a key pair for a host, and returns the public key.
    pub fn keygen(&self, path: &Path) -> String {
        let made =
            Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-C", "", "-f"]).arg(path).status();
        assert!(made.unwrap().success());
        let public = std::fs::read_to_string(path.with_extension("pub")).unwrap();
        public.split_whitespace().take(2).collect::<Vec<_>>().join(" ")
    }

    /// Returns the folder of the lab's state.
    pub fn state(&self) -> PathBuf {
        let labs = std::env::var_os("LAB_ROOT").map_or("/run/provision-lab".into(), PathBuf::from);
        labs.join(&self.name)
    }

    /// Returns a command of the lab, to be run beside others.
    pub fn lab_command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(script());
        command.args(words).env("LAB_NAME", &self.name).env("PROVISION", env!("CARGO_BIN_EXE_provision"));
        command.stdin(Stdio::null());
        command
    }

    /// Runs a command of the lab.
    pub fn lab(&self, words: &[&str]) -> Run {
        text(self.lab_command(words).output().unwrap())
    }

    /// Runs shell text as root on a host, not through the tool, and fails if it fails.
    #[track_caller]
    pub fn on(&self, host: &str, shell: &str) -> String {
        let run = self.lab(&["exec", host, "--", "sh", "-c", shell]);
        assert_eq!(run.status, 0, "{shell} on {host}: {}{}", run.stdout, run.stderr);
        run.stdout
    }

    /// Breaks or mends a host.
    #[track_caller]
    pub fn fault(&self, host: &str, words: &[&str]) {
        let run = self.lab(&[&["fault", host], words].concat());
        assert_eq!(run.status, 0, "{words:?} of {host}: {}", run.stderr);
    }

    /// Waits until shell text on a host succeeds.
    #[track_caller]
    pub fn wait_until(&self, host: &str, shell: &str) {
        let deadline = Instant::now() + self.patience;
        while self.lab(&["exec", host, "--", "sh", "-c", shell]).status != 0 {
            assert!(Instant::now() < deadline, "{host} never did: {shell}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Writes a file of the project.
    pub fn write(&self, path: &str, text: &str) {
        let path = self.path(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// Writes the playbook `playbooks/site.yaml`, with one play of these tasks on all hosts.
    pub fn tasks(&self, tasks: &str) {
        self.write("playbooks/site.yaml", &format!("plays:\n- name: site\n  hosts: all\n  tasks:\n{tasks}"));
    }

    pub fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    /// Returns the tool as a command that can reach the hosts, in the project's folder.
    pub fn command(&self, words: &[&str]) -> Command {
        self.program(&[&[env!("CARGO_BIN_EXE_provision")], words].concat())
    }

    /// Returns a program that can reach the hosts, in the project's folder and with nothing of our own environment.
    pub fn program(&self, words: &[&str]) -> Command {
        let mut command = Command::new(script());
        command.args(["run", "--"]).args(words);
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("HOME", self.folder.path()).env("USER", "tester");
        command.env("LAB_NAME", &self.name).env("COLUMNS", "100").current_dir(self.folder.path());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs the tool.
    pub fn provision(&self, words: &[&str]) -> Run {
        text(self.command(words).output().unwrap())
    }

    /// Applies the playbook, expects the exit code, and returns how each resource ended.
    #[track_caller]
    pub fn apply(&self, status: i32) -> BTreeMap<String, Value> {
        let run = self.provision(&["apply", "--yes", "--json"]).expect(status);
        let last = run.stdout.lines().last().unwrap_or_else(|| panic!("no summary: {}", run.stderr));
        outcomes(last)
    }

    /// Returns the resources that a plan would change, with the names of their attributes.
    #[track_caller]
    pub fn pending(&self) -> BTreeMap<String, Vec<String>> {
        let run = self.provision(&["plan", "--json", "--detailed-exitcode"]);
        assert!([0, 2].contains(&run.status), "{}{}", run.stdout, run.stderr);
        let pending = pending(&run.json());
        assert_eq!(run.status == 0, pending.is_empty(), "the exit code and the plan agree: {pending:?}");
        pending
    }

    /// Fails the test unless there is nothing left to do.
    #[track_caller]
    pub fn expect_nothing_to_do(&self) {
        assert_eq!(self.pending(), BTreeMap::new());
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.lab(&["down"]);
    }
}

/// Returns how each resource ended, from the last line of `apply --json`.
pub fn outcomes(line: &str) -> BTreeMap<String, Value> {
    let summary: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
    let resources = summary["resources"].as_array().unwrap_or_else(|| panic!("no resources: {line}"));
    resources.iter().map(|r| (r["resource"].as_str().unwrap().to_owned(), r.clone())).collect()
}

/// Returns what a plan's JSON would change, by address, with the names of the attributes.
pub fn pending(plan: &Value) -> BTreeMap<String, Vec<String>> {
    let mut pending = BTreeMap::new();
    for host in plan["hosts"].as_array().unwrap() {
        let addr =
            |entry: &Value| format!("{}/{}", host["host"].as_str().unwrap(), entry["resource"].as_str().unwrap());
        for change in host["changes"].as_array().unwrap() {
            let names = change["attributes"].as_array().unwrap().iter();
            pending.insert(addr(change), names.map(|a| a["name"].as_str().unwrap().to_owned()).collect());
        }
        for waiting in host["known_after_apply"].as_array().unwrap() {
            pending.insert(addr(waiting), vec!["(known after apply)".to_owned()]);
        }
        for handler in host["handlers"].as_array().unwrap() {
            pending.entry(addr(handler)).or_default().push("(refresh)".to_owned());
        }
    }
    pending
}

/// Returns the whole text of the files below a folder, for looking for what must not be there.
pub fn all_text(folder: &Path) -> String {
    let mut all = String::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            all.push_str(&all_text(&entry.path()));
        } else {
            all.push_str(&String::from_utf8_lossy(&std::fs::read(entry.path()).unwrap()));
        }
    }
    all
}
