//! A session with this machine: a child `sh` with the same driver as a host's.
//!
//! It serves `connection: local`, and tests as a cheap real shell.

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};

use super::session::{Heard, Outlet, Parts, Shell, Start};
use super::wire::{Meter, Metered};
use super::{Become, ConnectError, Session, SudoProblem, driver};
use crate::addr::HostName;

/// A shell on this machine, to be opened.
#[derive(Clone, Debug)]
pub struct Local {
    host: HostName,
    shell: Vec<String>,
    path: Option<String>,
    become_root: Become,
    start_timeout: Duration,
}

impl Local {
    /// Returns `sh` on this machine under the name of `host`, as the user that runs this program.
    pub fn new(host: HostName) -> Self {
        Self {
            host,
            shell: vec!["sh".to_owned()],
            path: None,
            become_root: Become::Auto,
            start_timeout: Duration::from_secs(20),
        }
    }

    /// Uses another shell, such as `busybox sh`.
    #[must_use]
    pub fn shell(mut self, words: &[&str]) -> Self {
        self.shell = words.iter().map(|word| (*word).to_owned()).collect();
        self
    }

    /// Looks for commands in these folders, separated by colons, instead of the usual ones.
    #[must_use]
    pub fn path(mut self, folders: impl Into<String>) -> Self {
        self.path = Some(folders.into());
        self
    }

    /// Becomes root in this way; not at all where it is not said.
    #[must_use]
    pub fn become_root(mut self, how: Become) -> Self {
        self.become_root = how;
        self
    }

    /// Opens the session.
    ///
    /// # Errors
    /// Fails if the shell cannot be started. What sudo has to say shows with the first request.
    pub fn open(self) -> Result<Box<dyn Session>, ConnectError> {
        let user = "the user of this program".to_owned();
        let prompt = format!("{:032x}", rand::random::<u128>());
        let hello = format!("{:032x}", rand::random::<u128>());
        let (mut words, start, greeting): (Vec<String>, Start, &str) = match self.become_root {
            Become::Auto | Become::No => (Vec::new(), Start::Plain, ""),
            Become::Sudo => (vec!["sudo".into(), "-n".into(), "--".into()], Start::Sudo, ""),
            Become::SudoWithPassword(password) => (
                ["sudo", "-S", "-p", &prompt, "--"].map(str::to_owned).into(),
                Start::SudoAsking { password, prompt: prompt.clone(), hello: hello.clone() },
                &hello,
            ),
        };
        words.extend(self.shell);
        let mut words = words.into_iter();
        let mut child = Command::new(words.next().unwrap_or_default())
            .args(words)
            .arg("-c")
            .arg(driver::program(greeting, self.path.as_deref()).text())
            .env("LC_ALL", "C")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // An interrupt typed at our terminal is ours to handle, not the script's.
            .process_group(0)
            .spawn()
            .map_err(|error| {
                let (host, user, said) = (self.host.clone(), user.clone(), error.to_string());
                match start {
                    Start::Plain => {
                        ConnectError::NoShell { host, user, reason: "it cannot be started".to_owned(), said }
                    }
                    _ => ConnectError::Sudo { host, user, problem: SudoProblem::Missing, said },
                }
            })?;
        let meter = Arc::new(Meter::default());
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let input = stdin.expect("the child was given a pipe");
        let stdout = Metered::new(stdout.expect("the child was given a pipe"), meter.clone());
        let stderr = stderr.expect("the child was given a pipe");
        let parts = Parts {
            host: self.host,
            user,
            start,
            start_timeout: self.start_timeout,
            round_trips: 0,
            input: Box::new(Metered::new(input, meter.clone())),
            meter,
            link: Box::new(()),
        };
        Ok(Box::new(Shell::new(parts, |outlet| drain(child, stdout, stderr, outlet))))
    }
}

async fn drain(mut child: Child, stdout: impl AsyncRead + Unpin, stderr: impl AsyncRead + Unpin, outlet: Outlet) {
    tokio::join!(pour(stdout, &outlet, Heard::Output), pour(stderr, &outlet, Heard::Errors));
    let (status, why) = match child.wait().await {
        Ok(status) => (status.code(), format!("the shell ended: {status}")),
        Err(error) => (None, format!("the shell ended: {error}")),
    };
    outlet.put(Heard::Exit { status, why }).await;
}

async fn pour(mut from: impl AsyncRead + Unpin, outlet: &Outlet, wrap: impl Fn(Vec<u8>) -> Heard) {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        match from.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(read) => outlet.put(wrap(buffer.get(..read).unwrap_or_default().to_vec())).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use camino::{Utf8Path, Utf8PathBuf};
    use sha2::{Digest, Sha256};

    use super::super::{Ended, Frame, Payload, Request, SessionError};
    use super::*;
    use crate::sh;
    use crate::shell::Script;

    const SHELLS: [&[&str]; 3] = [&["dash"], &["bash", "--posix"], &["busybox", "sh"]];

    fn open(shell: &[&str]) -> Box<dyn Session> {
        Local::new("here".into()).shell(shell).open().expect("the shell of this test is installed")
    }

    async fn run(session: &mut Box<dyn Session>, script: Script, payloads: &[&[u8]]) -> (String, Ended) {
        let payloads = payloads.iter().map(|bytes| Payload::Bytes(Arc::from(*bytes))).collect();
        let request = Request { script, payloads, deadline: Some(Duration::from_secs(60)) };
        let mut seen = String::new();
        let mut on_frame = |frame| match frame {
            Frame::Mark(words) => seen.push_str(&format!("<{words}>")),
            Frame::Data(bytes) => seen.push_str(&String::from_utf8_lossy(&bytes)),
        };
        let ended = session.exchange(request, &mut on_frame).await.unwrap();
        (seen, ended)
    }

    /// Waits for what another process does.
    async fn eventually(is_so: impl Fn() -> bool) {
        for _ in 0..500 {
            if is_so() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("it did not happen within 10 s");
    }

    fn is_there(path: &str) -> bool {
        std::path::Path::new(path).exists()
    }

    #[tokio::test]
    async fn a_script_speaks_in_frames_and_leaves_nothing_behind() {
        for shell in SHELLS {
            let mut session = open(shell);
            let script = sh!("x=1; echo a; _mark step 1; printf b; _mark step 2; echo oops >&2; cat; exit 3");
            let (seen, ended) = run(&mut session, script, &[]).await;
            assert_eq!(seen, "a\n<step 1>b<step 2>", "{shell:?}");
            assert_eq!(ended, Ended { status: 3, stderr: "oops".into() }, "{shell:?}");
            let script = sh!("echo \"${{x-unset}} $0 $(umask) $PWD $LC_ALL\"; env | grep -c '^_'");
            let script = Script::from_author(&script.text().replace("{{", "{").replace("}}", "}"));
            let (seen, _) = run(&mut session, script, &[]).await;
            assert!(seen.starts_with("unset ") && seen.contains(" 0077 / C\n"), "{shell:?}: {seen}");
            // `env` itself sets `_` under bash.
            assert!(seen.ends_with("0\n") || seen.ends_with("1\n"), "{shell:?}: {seen}");
            let counters = session.counters();
            assert_eq!((counters.exchanges, counters.round_trips), (2, 2));
            session.close().await;
        }
    }

    #[tokio::test]
    async fn a_syntax_error_or_a_dying_shell_ends_the_script_alone() {
        for shell in SHELLS {
            let mut session = open(shell);
            let (_, ended) = run(&mut session, sh!("if"), &[]).await;
            assert!(ended.status != 0 && ended.stderr.to_lowercase().contains("syntax error"), "{shell:?}: {ended:?}");
            let (_, ended) = run(&mut session, sh!("set -e; false; echo no"), &[]).await;
            assert_eq!(ended.status, 1, "{shell:?}");
            let (seen, _) = run(&mut session, sh!("echo still here"), &[]).await;
            assert_eq!(seen, "still here\n", "{shell:?}");
        }
    }

    #[tokio::test]
    async fn payloads_that_a_script_leaves_never_become_the_next_request() {
        let large = vec![b'\n'; 3 * 1024 * 1024];
        for shell in SHELLS {
            let mut session = open(shell);
            let script =
                sh!("_take 2; _mark; _take 3145728 head -c 1 >/dev/null; _take 3145728 | head -c 1 >/dev/null; exit 9");
            let (seen, ended) = run(&mut session, script, &[b"ab", &large, &large, &large, b"\0\n"]).await;
            assert_eq!((seen.as_str(), ended.status), ("ab<>", 9), "{shell:?}");
            let (seen, _) = run(&mut session, sh!("_take 0; _take 3 cat; _take 1; echo $?"), &[b"", b"xyz"]).await;
            assert_eq!(seen, "xyz95\n", "{shell:?}");
            let (_, ended) = run(&mut session, sh!("_take 4"), &[]).await;
            assert_eq!((ended.status, ended.stderr.contains("no such payload")), (95, true), "{shell:?}");
        }
    }

    #[tokio::test]
    async fn a_full_disk_fails_the_step_and_not_the_session() {
        let large = vec![7; 2_000_000];
        for shell in SHELLS {
            let mut session = open(shell);
            let script =
                sh!("_take 2000000 >/dev/full; echo $?; _take 2000000 tee /dev/full >/dev/null; echo $?; _take 2");
            let (seen, ended) = run(&mut session, script, &[&large, &large, b"ok"]).await;
            assert_eq!(seen, "1\n1\nok", "{shell:?}");
            assert!(ended.stderr.contains("No space left on device"), "{shell:?}: {}", ended.stderr);
        }
    }

    /// A file system of one megabyte, unmounted when it is dropped. It needs root.
    struct TinyDisk(tempfile::TempDir);

    impl TinyDisk {
        fn new() -> Self {
            let disk = Self(tempfile::tempdir().unwrap());
            let mut mount = std::process::Command::new("mount");
            let status = mount.args(["-t", "tmpfs", "-o", "size=1m", "none"]).arg(disk.0.path()).status();
            assert!(status.is_ok_and(|status| status.success()), "this test mounts a tmpfs, which needs root");
            disk
        }
    }

    impl Drop for TinyDisk {
        fn drop(&mut self) {
            std::process::Command::new("umount").arg(self.0.path()).status().ok();
        }
    }

    #[tokio::test]
    async fn a_file_that_does_not_fit_is_passed_over_whole() {
        let disk = TinyDisk::new();
        let path = |name: &str| disk.0.path().join(name).to_str().unwrap().to_owned();
        let (fits, large, larger) = (vec![1; 70_000], vec![2; 1_040_000], vec![3; 5_000_001]);
        for shell in SHELLS {
            let mut session = open(shell);
            let script = sh!(
                "_take 70000 >{}; echo $?; _take 1040000 >{}; echo $?; _take 5000001 >{}; echo $?; rm -f {} {}; _take 2",
                path("a"),
                path("b"),
                path("c"),
                path("b"),
                path("c"),
            );
            let (seen, ended) = run(&mut session, script, &[&fits, &large, &larger, b"ok"]).await;
            assert_eq!(seen, "0\n1\n1\nok", "{shell:?}: {}", ended.stderr);
            assert!(ended.stderr.contains("No space left on device"), "{shell:?}: {}", ended.stderr);
            let (seen, _) = run(&mut session, sh!("wc -c <{}; rm {}", path("a"), path("a")), &[]).await;
            assert_eq!(seen, "70000\n", "{shell:?}");
        }
    }

    #[tokio::test]
    async fn commands_of_a_script_do_not_hold_the_stream() {
        for shell in SHELLS {
            let mut session = open(shell);
            let script = sh!("readlink /proc/self/fd/0; readlink /proc/self/fd/9 || echo closed; _take 1");
            let (seen, _) = run(&mut session, script, &[b"x"]).await;
            assert_eq!(seen, "/dev/null\nclosed\nx", "{shell:?}");
        }
    }

    #[tokio::test]
    async fn what_looks_like_a_frame_is_data() {
        let mut session = open(&["sh"]);
        let forged = format!("\n{}.0\n\n{} end\n", "0".repeat(32), "f".repeat(32));
        let (seen, ended) = run(&mut session, sh!("printf %s {}; exit 5", forged), &[]).await;
        assert_eq!((seen, ended.status), (forged, 5));
    }

    #[tokio::test]
    async fn a_file_is_sent_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let folder = Utf8PathBuf::from_path_buf(folder.path().to_owned()).unwrap();
        std::fs::create_dir_all(&folder).unwrap();
        let (source, target) = (folder.join("source"), folder.join("target"));
        let content: Vec<u8> = (0..5_000_000_u32).map(|n| (n * 31) as u8).collect();
        crate::fs::write_atomic(&source, &content, 0o600).unwrap();
        let mut session = open(&["sh"]);
        let file = |size| Payload::File { path: source.clone(), size };
        let request = |size| Request {
            script: sh!("_take {} > {} && mv {} {}", size, target.as_str(), target.as_str(), format!("{target}.done")),
            payloads: vec![file(size)],
            deadline: Some(Duration::from_secs(60)),
        };
        let error = session.exchange(request(4_999_999), &mut |_| {}).await.unwrap_err();
        assert!(matches!(error, SessionError::LocalFile { .. }), "{error}");
        let ended = session.exchange(request(5_000_000), &mut |_| {}).await.unwrap();
        assert_eq!(ended.status, 0, "{}", ended.stderr);
        let arrived = crate::fs::read_at_most(&Utf8PathBuf::from(format!("{target}.done")), 1 << 30).unwrap();
        assert!(Sha256::digest(&arrived) == Sha256::digest(&content));
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[tokio::test]
    async fn a_stream_that_breaks_within_a_payload_stops_the_script_there() {
        let folder = tempfile::tempdir().unwrap();
        let done = folder.path().join("done").to_str().unwrap().to_owned();
        for shell in SHELLS {
            let mut child = std::process::Command::new(shell[0])
                .args(&shell[1..])
                .arg("-c")
                .arg(driver::program("", None).text())
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let script = sh!("_take 100 > {}; touch {}", format!("{done}.part"), done);
            let mark = "a".repeat(32);
            let text = format!("{} {mark} 133\n{}{mark}\ntoo short", script.text().len(), script.text());
            std::io::Write::write_all(child.stdin.as_mut().unwrap(), text.as_bytes()).unwrap();
            let output = child.wait_with_output().unwrap();
            assert_eq!(output.status.code(), Some(98), "{shell:?}");
            assert!(!std::path::Path::new(&done).exists(), "{shell:?}");
            let cut_script = format!("30 {mark} 0\ntouch {done} #");
            let mut child = std::process::Command::new(shell[0])
                .args(&shell[1..])
                .args(["-c", driver::program("", None).text()])
                .stdin(Stdio::piped())
                .spawn()
                .unwrap();
            std::io::Write::write_all(child.stdin.as_mut().unwrap(), cut_script.as_bytes()).unwrap();
            assert!(!child.wait().unwrap().success(), "{shell:?}");
            assert!(!std::path::Path::new(&done).exists(), "{shell:?}");
        }
    }

    #[tokio::test]
    async fn a_script_without_a_reader_ends_at_its_next_mark() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        for shell in SHELLS {
            let mut session = open(shell);
            let script = sh!(
                "echo $_tmp >{}; _mark on; while [ ! -e {} ]; do sleep 0.05; done; touch {}; _mark off; touch {}",
                path("tmp"),
                path("go"),
                path("finished"),
                path("next"),
            );
            let request = Request { script, payloads: vec![Payload::Bytes(Arc::from(*b"x"))], deadline: None };
            let seen = tokio::sync::Notify::new();
            let mut on_frame = |_| seen.notify_one();
            tokio::select! {
                _ = session.exchange(request, &mut on_frame) => panic!("{shell:?}: it ended by itself"),
                () = seen.notified() => {}
            }
            drop(session);
            let private = std::fs::read_dir(folder.path()).unwrap().count();
            assert_eq!(private, 1, "{shell:?}");
            let private = crate::fs::read_to_string(Utf8Path::new(&path("tmp"))).unwrap().trim().to_owned();
            assert!(private.contains("/provision.") && is_there(&private), "{shell:?}");
            crate::fs::write_atomic(Utf8Path::new(&path("go")), b"", 0o600).unwrap();
            // The running step finishes, nothing after it starts, and the host is clean.
            eventually(|| !is_there(&private)).await;
            assert!(is_there(&path("finished")) && !is_there(&path("next")), "{shell:?}");
            for name in ["tmp", "go", "finished"] {
                std::fs::remove_file(path(name)).unwrap();
            }
        }
    }

    #[tokio::test]
    async fn the_private_folder_is_gone_after_a_close_and_after_a_signal() {
        for shell in SHELLS {
            let mut session = open(shell);
            let (private, _) = run(&mut session, sh!("printf %s $_tmp; stat -c %a $_tmp >&2"), &[b"x"]).await;
            assert!(is_there(&private), "{shell:?}");
            session.close().await;
            assert!(!is_there(&private), "{shell:?}");
            let mut session = open(shell);
            let (private, _) = run(&mut session, sh!("printf %s $_tmp"), &[b"x"]).await;
            let request = Request::new(sh!("kill -HUP $$"), Duration::from_secs(9));
            let error = session.exchange(request, &mut |_| {}).await.unwrap_err();
            assert!(matches!(error, SessionError::Lost { .. }), "{shell:?}: {error}");
            assert!(!is_there(&private), "{shell:?}");
        }
    }

    #[tokio::test]
    async fn silence_has_a_deadline_and_says_where() {
        let mut session = open(&["sh"]);
        run(&mut session, sh!(":"), &[]).await;
        let request = Request::new(sh!("_mark step 4; echo why >&2; sleep 3"), Duration::from_secs(1));
        let error = session.exchange(request, &mut |_| {}).await.unwrap_err();
        assert_eq!(error.to_string(), "no word from here for 1s while at `step 4`: why");
        let again = session.exchange(Request::new(sh!(":"), Duration::from_secs(1)), &mut |_| {}).await.unwrap_err();
        assert!(again.to_string().contains("an earlier request did not end"), "{again}");
    }

    #[tokio::test]
    async fn a_shell_that_is_none_is_told() {
        let error = Local::new("here".into()).shell(&["/nonexistent"]).open().err().unwrap();
        assert!(matches!(error, ConnectError::NoShell { .. }), "{error}");
        let mut session = open(&["echo", "This account is not available"]);
        let error = session.exchange(Request::new(sh!(":"), Duration::from_secs(9)), &mut |_| {}).await.unwrap_err();
        assert!(matches!(&error, SessionError::Start(start) if matches!(**start, ConnectError::NoShell { .. })));
        assert!(error.to_string().contains("This account is not available"), "{error}");
    }

    #[tokio::test]
    async fn much_output_and_much_input_pass_each_other() {
        let mut session = open(&["sh"]);
        let payload: Arc<[u8]> = vec![5; 64 * 1024 * 1024].into();
        let script = sh!("head -c 8000000 /dev/zero; _mark now; _take 67108864 cat");
        let request =
            Request { script, payloads: vec![Payload::Bytes(payload)], deadline: Some(Duration::from_secs(60)) };
        let mut bytes = 0;
        let mut largest = 0;
        let mut count = |frame| {
            if let Frame::Data(data) = frame {
                bytes += data.len();
                largest = largest.max(data.len());
            }
        };
        let ended = session.exchange(request, &mut count).await.unwrap();
        assert_eq!((ended.status, bytes), (0, 8_000_000 + 67_108_864));
        assert!(largest <= 64 * 1024, "{largest}");
    }
}
