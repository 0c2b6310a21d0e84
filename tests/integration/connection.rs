//! The way to a host against real OpenSSH servers, started here on free ports of the loopback.

use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use camino::{Utf8Path, Utf8PathBuf};
use provision::connection::{
    AgentUse, Become, ConnectError, Connector, Endpoint, Frame, Payload, Request, Route, Session, SessionError,
    Settings, SudoProblem, Target, Unreachable,
};
use provision::sh;
use provision::shell::Script;

/// A folder with keys, and the servers that use them.
struct Lab {
    folder: Utf8PathBuf,
    _guard: tempfile::TempDir,
}

/// An sshd in the foreground, ended when it is dropped.
struct Sshd {
    child: Child,
    port: u16,
    folder: Utf8PathBuf,
}

impl Drop for Sshd {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn tool(words: &[&str]) {
    let output = Command::new(words[0]).args(&words[1..]).stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|error| panic!("`{}` is needed (openssh-client): {error}", words[0]));
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
}

impl Lab {
    fn new() -> Self {
        let guard = tempfile::tempdir().unwrap();
        let folder = Utf8PathBuf::from_path_buf(guard.path().to_owned()).unwrap();
        let lab = Self { folder, _guard: guard };
        lab.key("user", "ed25519", &[]);
        lab
    }

    fn key(&self, name: &str, kind: &str, more: &[&str]) -> Utf8PathBuf {
        let path = self.folder.join(name);
        let passphrase = if more.is_empty() { "" } else { more[0] };
        tool(&["ssh-keygen", "-q", "-t", kind, "-N", passphrase, "-C", name, "-f", path.as_str()]);
        path
    }

    fn public(&self, name: &str) -> String {
        provision::fs::read_to_string(&self.folder.join(format!("{name}.pub"))).unwrap().trim().to_owned()
    }

    fn sshd(&self, config: &str) -> Sshd {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let folder = self.folder.join(format!("sshd-{port}"));
        provision::fs::create_private_folder(&folder).unwrap();
        for kind in ["ed25519", "ecdsa", "rsa"] {
            let path = folder.join(kind);
            tool(&["ssh-keygen", "-q", "-t", kind, "-N", "", "-C", "", "-f", path.as_str()]);
        }
        provision::fs::write_atomic(&folder.join("authorized_keys"), self.public("user").as_bytes(), 0o644).unwrap();
        // The first value of an option counts, so what a test says comes first.
        let text = format!(
            "{config}\nListenAddress 127.0.0.1:{port}\nPidFile none\nUsePAM no\nStrictModes no\n\
             PermitRootLogin prohibit-password\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n\
             AuthorizedKeysFile {folder}/authorized_keys\n\
             HostKey {folder}/ed25519\nHostKey {folder}/ecdsa\nHostKey {folder}/rsa\n"
        );
        provision::fs::write_atomic(&folder.join("config"), text.as_bytes(), 0o600).unwrap();
        std::fs::create_dir_all("/run/sshd").unwrap();
        let log = provision::fs::open_append(&folder.join("log")).unwrap();
        let child = Command::new("/usr/sbin/sshd")
            .args(["-D", "-e", "-f", folder.join("config").as_str()])
            .stdin(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("/usr/sbin/sshd is needed (openssh-server)");
        let sshd = Sshd { child, port, folder };
        let start = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(start.elapsed() < Duration::from_secs(10), "sshd does not listen: {}", sshd.log());
            std::thread::sleep(Duration::from_millis(20));
        }
        sshd
    }

    fn settings(&self) -> Settings {
        Settings {
            identities: vec![self.folder.join("user")],
            agent: AgentUse::Never,
            connect_timeout: Duration::from_secs(5),
            attempts: 1,
            ..Settings::default()
        }
    }

    fn connector(&self) -> Connector {
        Connector::new(self.settings()).unwrap()
    }
}

impl Sshd {
    fn log(&self) -> String {
        provision::fs::read_to_string(&self.folder.join("log")).unwrap_or_default()
    }

    fn host_key(&self, kind: &str) -> String {
        provision::fs::read_to_string(&self.folder.join(format!("{kind}.pub"))).unwrap().trim().to_owned()
    }

    fn endpoint(&self) -> Endpoint {
        Endpoint {
            host: "web1".into(),
            address: "127.0.0.1".into(),
            port: self.port,
            user: "root".into(),
            host_keys: vec![self.host_key("ed25519")],
        }
    }
}

fn route(endpoint: Endpoint) -> Route {
    Route { via: Vec::new(), target: Target::Ssh(endpoint) }
}

async fn run(session: &mut Box<dyn Session>, script: Script) -> Result<String, SessionError> {
    let mut seen = String::new();
    let mut on_frame = |frame| match frame {
        Frame::Mark(words) => seen.push_str(&format!("<{words}>")),
        Frame::Data(bytes) => seen.push_str(&String::from_utf8_lossy(&bytes)),
    };
    session.exchange(Request::new(script, Duration::from_secs(20)), &mut on_frame).await?;
    Ok(seen)
}

async fn refused(connector: &Connector, route: &Route) -> ConnectError {
    match connector.open(route).await {
        Ok(_) => panic!("it was let in"),
        Err(error) => error,
    }
}

#[tokio::test]
async fn one_login_and_one_exchange_are_eight_round_trips() {
    let lab = Lab::new();
    let sshd = lab.sshd("");
    let mut session = lab.connector().open(&route(sshd.endpoint())).await.unwrap();
    assert_eq!(
        run(&mut session, sh!("id -u; _mark a; readlink /proc/self/fd/9 || echo closed")).await.unwrap(),
        "0\n<a>closed\n"
    );
    assert_eq!(session.counters().round_trips, 8);
    assert_eq!(run(&mut session, sh!("echo again")).await.unwrap(), "again\n");
    let counters = session.counters();
    assert_eq!((counters.round_trips, counters.exchanges), (9, 2));
    assert!(counters.bytes_sent > 1000 && counters.bytes_received > 1000);
    session.close().await;
}
