//! The way to a host against real OpenSSH servers, started here on free ports of the loopback.

use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
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
        provision::fs::create_folder(&folder).unwrap();
        // A server reads the keys of a user as that user.
        tool(&["chmod", "755", self.folder.as_str(), folder.as_str()]);
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
async fn one_login_and_one_exchange_are_nine_round_trips() {
    let lab = Lab::new();
    let sshd = lab.sshd("");
    let mut session = lab.connector().open(&route(sshd.endpoint())).await.unwrap();
    assert_eq!(
        run(&mut session, sh!("id -u; _mark a; readlink /proc/self/fd/9 || echo closed")).await.unwrap(),
        "0\n<a>closed\n"
    );
    assert_eq!(session.counters().round_trips, 9);
    assert_eq!(run(&mut session, sh!("echo again")).await.unwrap(), "again\n");
    let counters = session.counters();
    assert_eq!((counters.round_trips, counters.exchanges), (10, 2));
    // Under sshd, too, no command holds the stream that payloads come by.
    let payloads = vec![Payload::Bytes(Arc::from(*b"taken"))];
    let script = sh!("readlink /proc/self/fd/9 || _take 5");
    let mut seen = Vec::new();
    let request = Request { script, payloads, deadline: Some(Duration::from_secs(20)) };
    session.exchange(request, &mut |frame| seen.push(frame)).await.unwrap();
    assert_eq!(seen, [Frame::Data(b"taken".to_vec())]);
    assert!(counters.bytes_sent > 1000 && counters.bytes_received > 1000);
    session.close().await;
}

#[tokio::test]
async fn the_login_works_with_each_kind_of_key() {
    let lab = Lab::new();
    let sshd = lab.sshd("");
    for kind in ["rsa", "ecdsa", "ed25519"] {
        let path = lab.key(&format!("own-{kind}"), kind, &[]);
        let text = lab.public(&format!("own-{kind}"));
        provision::fs::write_atomic(&sshd.folder.join("authorized_keys"), text.as_bytes(), 0o644).unwrap();
        let settings = Settings { identities: vec![path], ..lab.settings() };
        let mut session = Connector::new(settings).unwrap().open(&route(sshd.endpoint())).await.unwrap();
        assert_eq!(run(&mut session, sh!("echo in")).await.unwrap(), "in\n", "{kind}");
        assert_eq!(session.counters().round_trips, 9, "{kind}");
    }
}

#[tokio::test]
async fn a_certificate_beside_the_key_is_used_and_an_expired_one_is_named() {
    let lab = Lab::new();
    let authority = lab.key("authority", "ed25519", &[]);
    let sshd = lab.sshd(&format!("TrustedUserCAKeys {authority}.pub\nAuthorizedKeysFile none"));
    let sign = |validity: &str| {
        let public = lab.folder.join("user.pub");
        tool(&[
            "ssh-keygen",
            "-q",
            "-s",
            authority.as_str(),
            "-I",
            "j.martin",
            "-n",
            "root",
            "-V",
            validity,
            public.as_str(),
        ]);
    };
    sign("-1d:+1d");
    let mut session = lab.connector().open(&route(sshd.endpoint())).await.unwrap();
    run(&mut session, sh!(":")).await.unwrap();
    assert_eq!(session.counters().round_trips, 9);
    sign("-2d:-1d");
    let error = refused(&lab.connector(), &route(sshd.endpoint())).await;
    assert!(matches!(error, ConnectError::LoginRefused { .. }), "{error}");
    assert!(error.to_string().contains("user with its certificate (the certificate has expired)"), "{error}");
}

#[tokio::test]
async fn the_agent_signs_with_a_key_that_has_a_passphrase() {
    let lab = Lab::new();
    let sshd = lab.sshd("");
    let locked = lab.key("locked", "ed25519", &["correct horse"]);
    provision::fs::write_atomic(&sshd.folder.join("authorized_keys"), lab.public("locked").as_bytes(), 0o644).unwrap();
    let settings = Settings { identities: vec![locked.clone()], ..lab.settings() };
    let error = refused(&Connector::new(settings).unwrap(), &route(sshd.endpoint())).await;
    assert!(error.to_string().ends_with("locked (has a passphrase, and no agent holds it)"), "{error}");

    let socket = lab.folder.join("agent");
    let mut agent =
        Command::new("ssh-agent").args(["-D", "-a", socket.as_str()]).stdout(Stdio::null()).spawn().unwrap();
    let askpass = lab.folder.join("askpass");
    provision::fs::write_atomic(&askpass, b"#!/bin/sh\necho correct horse\n", 0o700).unwrap();
    std::thread::sleep(Duration::from_millis(200));
    let add = |path: &Utf8Path| {
        let output = Command::new("ssh-add")
            .arg(path)
            .env("SSH_AUTH_SOCK", &socket)
            .env("SSH_ASKPASS", &askpass)
            .env("SSH_ASKPASS_REQUIRE", "force")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    for other in ["one", "two", "three"] {
        add(&lab.key(other, "ed25519", &[]));
    }
    add(&locked);
    for (identities, agent_use, round_trips) in
        [(vec![locked.clone()], AgentUse::AfterFiles, 9), (Vec::new(), AgentUse::Only, 12)]
    {
        let settings = Settings { identities, agent: agent_use, agent_socket: Some(socket.clone()), ..lab.settings() };
        let connector = Connector::new(settings).unwrap();
        let mut session = connector.open(&route(sshd.endpoint())).await.unwrap();
        run(&mut session, sh!(":")).await.unwrap();
        assert_eq!(session.counters().round_trips, round_trips);
        // The key that worked is offered first from now on.
        let mut session = connector.open(&route(sshd.endpoint())).await.unwrap();
        run(&mut session, sh!(":")).await.unwrap();
        assert_eq!(session.counters().round_trips, 9);
    }
    agent.kill().unwrap();
    agent.wait().unwrap();
}

#[tokio::test]
async fn a_refused_login_names_what_was_tried_and_is_not_repeated() {
    let lab = Lab::new();
    let sshd = lab.sshd("");
    let other = lab.key("other", "ed25519", &[]);
    let settings = Settings { identities: vec![other], attempts: 5, ..lab.settings() };
    let error = refused(&Connector::new(settings).unwrap(), &route(sshd.endpoint())).await;
    assert_eq!(error.to_string(), format!("log in to web1 as root: tried {}/other", lab.folder));
    assert!(error.hint().unwrap().contains("authorized_keys"));
    assert!(!error.is_unreachable());
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(sshd.log().matches("by authenticating user root").count(), 1, "{}", sshd.log());

    let many: Vec<_> = (0..8).map(|n| lab.key(&format!("many{n}"), "ed25519", &[])).collect();
    let settings = Settings { identities: many, ..lab.settings() };
    let error = refused(&Connector::new(settings).unwrap(), &route(sshd.endpoint())).await;
    assert!(error.to_string().contains("not 3 more"), "{error}");

    let none = Settings { identities: Vec::new(), ..lab.settings() };
    let error = refused(&Connector::new(none).unwrap(), &route(sshd.endpoint())).await;
    assert!(error.to_string().ends_with("there is no key to try"), "{error}");
}

#[tokio::test]
async fn a_key_file_that_others_may_read_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let lab = Lab::new();
    std::fs::set_permissions(lab.folder.join("user"), std::fs::Permissions::from_mode(0o644)).unwrap();
    let error = Connector::new(lab.settings()).err().unwrap();
    assert!(error.to_string().contains("others may read it (mode 0644)"), "{error}");
}

#[tokio::test]
async fn a_host_is_trusted_by_what_is_recorded_and_by_nothing_else() {
    let lab = Lab::new();
    let sshd = lab.sshd("");
    let with_pins = |host_keys: Vec<String>| route(Endpoint { host_keys, ..sshd.endpoint() });
    let error = refused(&lab.connector(), &with_pins(Vec::new())).await;
    assert!(matches!(error, ConnectError::HostKeyUnknown { .. }), "{error}");
    assert!(error.hint().unwrap().ends_with("`provision trust web1`"));
    let error = refused(&lab.connector(), &with_pins(vec![lab.public("user")])).await;
    assert!(matches!(error, ConnectError::HostKeyMismatch { .. }), "{error}");
    // The server would show its ed25519 key if it were not asked for the recorded one.
    for kind in ["rsa", "ecdsa"] {
        lab.connector().open(&with_pins(vec![sshd.host_key(kind)])).await.unwrap();
    }
    let known_hosts = lab.folder.join("known_hosts");
    let line = format!("[127.0.0.1]:{} {}\n", sshd.port, sshd.host_key("ecdsa"));
    provision::fs::write_atomic(&known_hosts, line.as_bytes(), 0o600).unwrap();
    tool(&["ssh-keygen", "-q", "-H", "-f", known_hosts.as_str()]);
    let settings = Settings { known_hosts: vec![lab.folder.join("missing"), known_hosts], ..lab.settings() };
    Connector::new(settings).unwrap().open(&with_pins(Vec::new())).await.unwrap();

    let offered = lab.connector().host_keys(&with_pins(Vec::new())).await.unwrap();
    let lines: Vec<_> = offered.iter().map(|key| key.line.clone()).collect();
    assert_eq!(lines, ["ed25519", "ecdsa", "rsa"].map(|kind| sshd.host_key(kind)));
    assert!(offered[0].fingerprint.starts_with("SHA256:"));
    assert!(!sshd.log().contains("Accepted publickey for root from 127.0.0.1 port 0"));
}

#[tokio::test]
async fn a_host_certificate_of_a_pinned_authority_is_enough() {
    let lab = Lab::new();
    let authority = lab.key("authority", "ed25519", &[]);
    let host = lab.key("certified", "ed25519", &[]);
    let sign = |names: &str| {
        let public = format!("{host}.pub");
        tool(&[
            "ssh-keygen",
            "-q",
            "-h",
            "-s",
            authority.as_str(),
            "-I",
            "web1",
            "-n",
            names,
            "-V",
            "-1h:+1h",
            &public,
        ]);
    };
    let config = format!("HostKey {host}\nHostCertificate {host}-cert.pub");
    let pins = vec![format!("@cert-authority {}", lab.public("authority"))];
    sign("web1,127.0.0.1");
    let sshd = lab.sshd(&config);
    let mut session =
        lab.connector().open(&route(Endpoint { host_keys: pins.clone(), ..sshd.endpoint() })).await.unwrap();
    assert_eq!(run(&mut session, sh!("echo in")).await.unwrap(), "in\n");
    sign("db1");
    let sshd = lab.sshd(&config);
    let error = refused(&lab.connector(), &route(Endpoint { host_keys: pins, ..sshd.endpoint() })).await;
    assert!(matches!(error, ConnectError::HostCertificate { .. }), "{error}");
}

#[tokio::test]
async fn nobody_there_is_told_apart_from_somebody_silent() {
    let lab = Lab::new();
    let quick = || Settings { connect_timeout: Duration::from_millis(300), ..lab.settings() };
    let at = |address: &str, port| {
        route(Endpoint {
            host: "web1".into(),
            address: address.into(),
            port,
            user: "root".into(),
            host_keys: Vec::new(),
        })
    };
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let error = refused(&Connector::new(quick()).unwrap(), &at("127.0.0.1", free)).await;
    assert!(matches!(error, ConnectError::Unreachable { why: Unreachable::Refused, .. }), "{error}");

    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let error = refused(&Connector::new(quick()).unwrap(), &at("127.0.0.1", port)).await;
    assert!(matches!(error, ConnectError::NoAnswer { .. }), "{error}");
    assert!(error.is_unreachable());

    let rude = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = rude.local_addr().unwrap().port();
    let count = tokio::spawn(async move {
        let mut count = 0;
        while let Ok(Ok(_)) = tokio::time::timeout(Duration::from_secs(3), rude.accept()).await {
            count += 1;
        }
        count
    });
    let error = refused(&Connector::new(Settings { attempts: 3, ..quick() }).unwrap(), &at("127.0.0.1", port)).await;
    assert!(matches!(error, ConnectError::Unreachable { why: Unreachable::Closed, .. }), "{error}");
    assert_eq!(count.await.unwrap(), 3);

    let error = refused(&Connector::new(quick()).unwrap(), &at("no.such.host.invalid", 22)).await;
    assert!(
        matches!(error, ConnectError::Unreachable { why: Unreachable::Dns | Unreachable::TimedOut, .. }),
        "{error}"
    );
}

#[tokio::test]
async fn hosts_behind_bastions_share_their_connections() {
    let lab = Lab::new();
    let (outer, inner, target) = (lab.sshd(""), lab.sshd(""), lab.sshd("MaxStartups 100"));
    let named = |name: &str, sshd: &Sshd| Endpoint { host: name.into(), ..sshd.endpoint() };
    let connector = lab.connector();
    let chain = Route {
        via: vec![named("outer", &outer), named("inner", &inner)],
        target: Target::Ssh(named("web1", &target)),
    };
    let mut session = connector.open(&chain).await.unwrap();
    assert_eq!(run(&mut session, sh!("echo through two")).await.unwrap(), "through two\n");
    assert_eq!(session.counters().round_trips, 9 + 6 + 6);
    let mut second = connector.open(&chain).await.unwrap();
    run(&mut second, sh!(":")).await.unwrap();
    assert_eq!(second.counters().round_trips, 9);

    let one = Route { via: vec![named("outer", &outer)], target: Target::Ssh(named("web1", &target)) };
    let start = Instant::now();
    let opened = futures_util::future::join_all((0..60).map(|_| async {
        let mut session = connector.open(&one).await.unwrap();
        run(&mut session, sh!(":")).await.unwrap();
        session
    }))
    .await;
    println!("60 hosts through one bastion: {:?}", start.elapsed());
    assert_eq!(opened.len(), 60);
    // The connection of the chain has room for most of the sixty, and a second one takes the rest.
    assert_eq!(outer.log().matches("Accepted publickey").count(), 2, "{}", outer.log());
}

#[tokio::test]
async fn a_host_that_nobody_listens_to_does_not_hold_up_the_others() {
    let lab = Lab::new();
    let sshd = lab.sshd("");
    let bastion = Endpoint { host: "bastion1".into(), ..sshd.endpoint() };
    let beyond = Route { via: vec![bastion], target: Target::Ssh(sshd.endpoint()) };
    let connector = lab.connector();
    let (mut loud, mut quiet) = (connector.open(&beyond).await.unwrap(), connector.open(&beyond).await.unwrap());
    run(&mut quiet, sh!(":")).await.unwrap();
    let request = Request::new(sh!("head -c 300000000 /dev/zero"), Duration::from_secs(20));
    let mut on_frame = |_| std::thread::sleep(Duration::from_millis(1));
    tokio::time::timeout(Duration::from_millis(500), loud.exchange(request, &mut on_frame)).await.unwrap_err();
    for _ in 0..3 {
        let answer = tokio::time::timeout(Duration::from_secs(5), run(&mut quiet, sh!("echo heard"))).await;
        assert_eq!(answer.expect("the quiet host is held up").unwrap(), "heard\n");
    }
}

#[tokio::test]
async fn a_bastion_that_does_not_help_is_named() {
    let lab = Lab::new();
    let target = lab.sshd("");
    let strict = lab.sshd("AllowTcpForwarding no");
    let bastion = Endpoint { host: "bastion1".into(), ..strict.endpoint() };
    let through = |bastion: Endpoint, target: Endpoint| Route { via: vec![bastion], target: Target::Ssh(target) };
    let error = refused(&lab.connector(), &through(bastion.clone(), target.endpoint())).await;
    assert!(matches!(error, ConnectError::Forwarding { .. }), "{error}");
    assert!(error.hint().unwrap().contains("sshd_config on bastion1"));

    let untrusted = Endpoint { host_keys: vec![lab.public("user")], ..bastion.clone() };
    let connector = lab.connector();
    let route = through(untrusted, target.endpoint());
    let (one, two) = tokio::join!(refused(&connector, &route), refused(&connector, &route));
    for error in [one, two] {
        let ConnectError::Bastion { source, .. } = &error else { panic!("{error}") };
        assert!(matches!(**source, ConnectError::HostKeyMismatch { .. }), "{source}");
        assert_eq!(error.to_string(), "reach web1 through bastion1");
    }
    // Whoever waited for the failed login did not try again.
    assert!(strict.log().matches("[preauth]").count() <= 1, "{}", strict.log());

    let open = lab.sshd("");
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let gone = Endpoint { port: free, ..target.endpoint() };
    let error = refused(&lab.connector(), &through(open.endpoint(), gone)).await;
    assert!(matches!(error, ConnectError::Unreachable { why: Unreachable::BeyondBastion, .. }), "{error}");
}

#[tokio::test]
async fn a_connection_cut_in_mid_script_is_lost_and_stops_the_script() {
    let lab = Lab::new();
    let sshd = lab.sshd("");
    let mut session = lab.connector().open(&route(sshd.endpoint())).await.unwrap();
    run(&mut session, sh!(":")).await.unwrap();
    let (before, after) = (lab.folder.join("before"), lab.folder.join("after"));
    let script = sh!(
        "_take 1 >/dev/null; echo $PPID $_tmp > {}; _mark step 1; sleep 1; _mark step 2; touch {}",
        before.as_str(),
        after.as_str()
    );
    let request =
        Request { script, payloads: vec![Payload::Bytes(Arc::from(*b"x"))], deadline: Some(Duration::from_secs(20)) };
    let folder = lab.folder.clone();
    let mut on_frame = |frame| {
        if frame == Frame::Mark("step 1".into()) {
            // The process above the driver is the sshd of this connection.
            let text = provision::fs::read_to_string(&folder.join("before")).unwrap();
            tool(&["kill", "-KILL", text.split_whitespace().next().unwrap()]);
        }
    };
    let error = session.exchange(request, &mut on_frame).await.unwrap_err();
    assert!(matches!(error, SessionError::Lost { .. }) && error.is_unreachable(), "{error:?}");
    assert!(error.to_string().starts_with("lost web1 while at `step 1`: "), "{error}");
    let text = provision::fs::read_to_string(&before).unwrap();
    let private = Utf8Path::new(text.split_whitespace().nth(1).unwrap());
    let start = Instant::now();
    while private.exists() {
        assert!(start.elapsed() < Duration::from_secs(10), "{private} is left behind");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(!after.exists());
}

#[tokio::test]
async fn a_session_that_is_dropped_leaves_neither_task_nor_process() {
    let lab = Lab::new();
    let sshd = lab.sshd("");
    let metrics = tokio::runtime::Handle::current().metrics();
    let connector = lab.connector();
    let before = metrics.num_alive_tasks();
    let mut sessions = Vec::new();
    for _ in 0..5 {
        let mut session = connector.open(&route(sshd.endpoint())).await.unwrap();
        run(&mut session, sh!(":")).await.unwrap();
        sessions.push(session);
    }
    let bastion = Endpoint { host: "bastion1".into(), ..sshd.endpoint() };
    let beyond = Route { via: vec![bastion], target: Target::Ssh(sshd.endpoint()) };
    sessions.insert(0, connector.open(&beyond).await.unwrap());
    // One that is in the middle of sending what the host does not take.
    let payload = Payload::Bytes(vec![0; 32 * 1024 * 1024].into());
    let request = Request { script: sh!("sleep 2"), payloads: vec![payload], deadline: None };
    let stuck = sessions.last_mut().unwrap();
    tokio::time::timeout(Duration::from_millis(300), stuck.exchange(request, &mut |_| {})).await.unwrap_err();
    let closed = sessions.remove(0);
    closed.close().await;
    drop(sessions);
    drop(connector);
    let children = || {
        let output = Command::new("pgrep").args(["-c", "-P", &sshd.child.id().to_string()]).output().unwrap();
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    let start = Instant::now();
    while (metrics.num_alive_tasks(), children()) != (before, "0".to_owned()) {
        let left = (metrics.num_alive_tasks(), children());
        assert!(start.elapsed() < Duration::from_secs(10), "{left:?} left of {before}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_large_file_arrives_over_ssh_at_constant_memory() {
    let lab = Lab::new();
    let sshd = lab.sshd("");
    let (source, target) = (lab.folder.join("source"), lab.folder.join("target"));
    let size = 256 * 1024 * 1024_u64;
    std::fs::File::create_new(&source).unwrap().set_len(size).unwrap();
    let mut session = lab.connector().open(&route(sshd.endpoint())).await.unwrap();
    run(&mut session, sh!(":")).await.unwrap();
    let memory = || {
        let status = provision::fs::read_to_string(Utf8Path::new("/proc/self/status")).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
    };
    let before = memory();
    let request = Request {
        script: sh!("_take {} > {}", size, target.as_str()),
        payloads: vec![Payload::File { path: source, size }],
        deadline: Some(Duration::from_secs(60)),
    };
    let start = Instant::now();
    let ended = session.exchange(request, &mut |_| {}).await.unwrap();
    println!("256 MiB in {:?}, {} KiB more memory", start.elapsed(), memory().saturating_sub(before));
    assert_eq!((ended.status, provision::fs::metadata(&target).unwrap().unwrap().len()), (0, size));
    assert!(memory().saturating_sub(before) < 32 * 1024);
}

#[tokio::test]
async fn a_login_without_a_shell_is_explained() {
    let lab = Lab::new();
    let forced = lab.sshd("ForceCommand echo this is the backup account");
    let mut session = lab.connector().open(&route(forced.endpoint())).await.unwrap();
    let error = run(&mut session, sh!(":")).await.unwrap_err();
    let SessionError::Start(start) = &error else { panic!("{error:?}") };
    assert!(matches!(**start, ConnectError::NoShell { .. }), "{error}");
    assert!(error.to_string().contains("this is the backup account"), "{error}");

    let stuck = lab.sshd("ForceCommand sleep 60");
    let settings = Settings { login_timeout: Duration::from_secs(1), ..lab.settings() };
    let mut session = Connector::new(settings).unwrap().open(&route(stuck.endpoint())).await.unwrap();
    let error = run(&mut session, sh!(":")).await.unwrap_err();
    assert_eq!(error.to_string(), "start a shell on web1 as root: none started within 1s");

    let noisy = lab.sshd("ForceCommand echo welcome; eval \"$SSH_ORIGINAL_COMMAND\"");
    let mut session = lab.connector().open(&route(noisy.endpoint())).await.unwrap();
    assert_eq!(run(&mut session, sh!("echo in")).await.unwrap(), "in\n");
}

/// A user with a line in the sudoers, both gone when it is dropped.
struct SudoUser(String);

impl SudoUser {
    fn new(name: &str, password: &str, sudoers: &str) -> Self {
        let name = format!("{name}{}", std::process::id() % 100_000);
        let hash = if password.is_empty() {
            "*".to_owned()
        } else {
            let output = Command::new("openssl").args(["passwd", "-6", password]).output().expect("openssl is needed");
            String::from_utf8(output.stdout).unwrap().trim().to_owned()
        };
        let user = Self(name);
        // Another test may hold the lock of the user database.
        let mut left = 50;
        loop {
            let output = Command::new("useradd").args(["-M", "-p", &hash, "-s", "/bin/sh", &user.0]).output().unwrap();
            if output.status.success() {
                break;
            }
            left -= 1;
            assert!(left > 0, "useradd: {}", String::from_utf8_lossy(&output.stderr));
            std::thread::sleep(Duration::from_millis(100));
        }
        let text = format!("{}\n", sudoers.replace("USER", &user.0));
        let file = camino::Utf8PathBuf::from(format!("/etc/sudoers.d/{}", user.0));
        provision::fs::write_atomic(&file, text.as_bytes(), 0o440).unwrap();
        tool(&["visudo", "-cqf", file.as_str()]);
        user
    }
}

impl Drop for SudoUser {
    fn drop(&mut self) {
        provision::fs::remove_file(Utf8Path::new(&format!("/etc/sudoers.d/{}", self.0))).ok();
        for _ in 0..50 {
            if Command::new("userdel").args(["-f", &self.0]).output().is_ok_and(|output| output.status.success()) {
                return;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

async fn as_user(lab: &Lab, sshd: &Sshd, user: &SudoUser, become_root: Become) -> Box<dyn Session> {
    let settings = Settings { become_root, ..lab.settings() };
    let endpoint = Endpoint { user: user.0.clone(), ..sshd.endpoint() };
    Connector::new(settings).unwrap().open(&route(endpoint)).await.unwrap()
}

async fn sudo_problem(mut session: Box<dyn Session>) -> (SudoProblem, ConnectError) {
    match run(&mut session, sh!("id -u")).await {
        Err(SessionError::Start(error)) => match *error {
            ConnectError::Sudo { problem, .. } => (problem, *error),
            error => panic!("{error}"),
        },
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn sudo_gives_a_root_shell_that_is_safe_for_any_byte() {
    let lab = Lab::new();
    let sshd = lab.sshd("");
    for (name, defaults) in
        [("sudoa", ""), ("sudob", "Defaults:USER use_pty"), ("sudoc", "Defaults:USER use_pty, log_output")]
    {
        let user = SudoUser::new(name, "", &format!("{defaults}\nUSER ALL=(root) NOPASSWD: ALL"));
        let mut session = as_user(&lab, &sshd, &user, Become::Auto).await;
        let every_byte: Vec<u8> = (0..=255).cycle().take(300_000).collect();
        let payloads = vec![Payload::Bytes(every_byte.clone().into()), Payload::Bytes(every_byte.clone().into())];
        let script = sh!("id -u; _mark data; _take 300000; _mark more; _take 300000 | head -c 3; exit 4");
        let mut data: Vec<u8> = Vec::new();
        let mut on_frame = |frame| match frame {
            Frame::Mark(words) => data.extend(format!("<{words}>").bytes()),
            Frame::Data(bytes) => data.extend(bytes),
        };
        let request = Request { script, payloads, deadline: Some(Duration::from_secs(20)) };
        let ended = session.exchange(request, &mut on_frame).await.unwrap();
        let expected = [b"0\n<data>", every_byte.as_slice(), b"<more>\0\x01\x02"].concat();
        assert!(data == expected, "{defaults}");
        assert_eq!((ended.status, session.counters().round_trips), (4, 9), "{defaults}");
        session.close().await;
    }
}

#[tokio::test]
async fn each_refusal_of_sudo_has_its_own_explanation() {
    let lab = Lab::new();
    let sshd = lab.sshd("");
    for (name, password, sudoers, expected) in [
        ("sudod", "", "Defaults:USER requiretty\nUSER ALL=(root) NOPASSWD: ALL", SudoProblem::NeedsTty),
        ("sudoe", "", "Defaults:USER noexec\nUSER ALL=(root) NOPASSWD: ALL", SudoProblem::NoExec),
        ("sudof", "", "USER ALL=(root) NOPASSWD: /bin/true", SudoProblem::PasswordNeeded),
        ("sudog", "", "Defaults:USER !lecture", SudoProblem::PasswordNeeded),
        ("sudoh", "pw", "USER ALL=(root) ALL", SudoProblem::PasswordNeeded),
    ] {
        let user = SudoUser::new(name, password, sudoers);
        let (problem, error) = sudo_problem(as_user(&lab, &sshd, &user, Become::Auto).await).await;
        println!("{error}\n  hint: {:?}", error.hint());
        assert_eq!(problem, expected, "{sudoers}: {error}");
        assert!(error.hint().is_some());
    }
    let bin = lab.folder.join("bin");
    provision::fs::create_folder(&bin).unwrap();
    std::os::unix::fs::symlink("/usr/bin/env", bin.join("env")).unwrap();
    let bare = lab.sshd(&format!("SetEnv PATH={bin}"));
    let user = SudoUser::new("sudoi", "", "");
    let (problem, error) = sudo_problem(as_user(&lab, &bare, &user, Become::Auto).await).await;
    assert_eq!(problem, SudoProblem::Missing, "{error}");
}

#[tokio::test]
async fn sudo_gets_the_password_only_when_it_asks() {
    let lab = Lab::new();
    let sshd = lab.sshd("");
    let password = |text: &str| Become::SudoWithPassword(text.to_owned().into());
    let user = SudoUser::new("sudoj", "s3cret pass'word", "Defaults:USER timestamp_timeout=0\nUSER ALL=(root) ALL");
    let mut session = as_user(&lab, &sshd, &user, password("s3cret pass'word")).await;
    let seen = run(&mut session, sh!("id -u; ps axww -o args | grep -c '[s]3cret'")).await.unwrap();
    assert_eq!((seen.as_str(), session.counters().round_trips), ("0\n0\n", 10));

    let (problem, error) = sudo_problem(as_user(&lab, &sshd, &user, password("wr0ng")).await).await;
    assert_eq!(problem, SudoProblem::PasswordWrong, "{error}");
    assert!(!format!("{error} {error:?}").contains("wr0ng"));

    let free = SudoUser::new("sudok", "x", "USER ALL=(root) NOPASSWD: ALL");
    let mut session = as_user(&lab, &sshd, &free, password("not asked for")).await;
    assert_eq!(run(&mut session, sh!("id -u")).await.unwrap(), "0\n");
}

/// A wire to `to` that holds every byte back for a while, in each direction, and counts how often an answer came in after
/// something had gone out.
async fn slow_wire(to: u16) -> (u16, Arc<Mutex<u32>>) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let delay = Duration::from_millis(50);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let answers = Arc::new(Mutex::new(0));
    let (waiting, counted) = (Arc::new(AtomicBool::new(false)), answers.clone());
    tokio::spawn(async move {
        let (near, _) = listener.accept().await.unwrap();
        let far = tokio::net::TcpStream::connect(("127.0.0.1", to)).await.unwrap();
        let (near, far) = (near.into_split(), far.into_split());
        for (mut from, mut to, is_out) in [(near.0, far.1, true), (far.0, near.1, false)] {
            let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel::<(tokio::time::Instant, Vec<u8>)>();
            let (waiting, counted) = (waiting.clone(), counted.clone());
            tokio::spawn(async move {
                let mut buffer = vec![0; 65536];
                while let Ok(read @ 1..) = from.read(&mut buffer).await {
                    sender.send((tokio::time::Instant::now() + delay, buffer[..read].to_vec())).ok();
                }
            });
            tokio::spawn(async move {
                while let Some((at, bytes)) = receiver.recv().await {
                    tokio::time::sleep_until(at).await;
                    if is_out {
                        waiting.store(true, Ordering::SeqCst);
                    } else if waiting.swap(false, Ordering::SeqCst) {
                        *counted.lock().unwrap() += 1;
                    }
                    to.write_all(&bytes).await.unwrap();
                }
            });
        }
    });
    (port, answers)
}

#[tokio::test]
async fn the_counted_round_trips_are_those_that_a_slow_wire_shows() {
    let lab = Lab::new();
    let sshd = lab.sshd("");
    let (port, answers) = slow_wire(sshd.port).await;
    let mut session = lab.connector().open(&route(Endpoint { port, ..sshd.endpoint() })).await.unwrap();
    for _ in 0..3 {
        run(&mut session, sh!("echo in")).await.unwrap();
        // TCP's own handshake is the one that the wire does not see.
        assert_eq!(*answers.lock().unwrap() + 1, session.counters().round_trips);
    }
    assert_eq!(session.counters().round_trips, 11);
}
