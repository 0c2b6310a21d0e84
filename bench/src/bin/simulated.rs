//! Simulated hosts: an SSH server on every loopback address of its network namespace, for more hosts than one machine
//! can boot.
//!
//! It answers truthfully. A request that it has not seen before is run once by a real shell, on a real host if
//! `--shell` leads there, and what came back is what every later host with the same request gets, with the request's own
//! boundary in place of the recorded one. Only requests without payloads are answered, so nothing is ever changed.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::process::{ExitCode, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use clap::Parser;
use memchr::memmem;
use russh::keys::load_secret_key;
use russh::server::{self, Auth, ChannelOpenHandle, Msg, Session, VerifiedPublicKey};
use russh::{Channel, ChannelId};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpSocket;
use tokio::process::Command;
use tokio::sync::OnceCell;

/// Be many SSH hosts at once
#[derive(Parser)]
struct Arguments {
    /// The port
    #[arg(long, default_value_t = 22)]
    port: u16,
    /// The private host key
    #[arg(long)]
    host_key: PathBuf,
    /// The command that gets to a real host's shell: `-c` and the session's command are added to it
    #[arg(required = true, last = true)]
    shell: Vec<String>,
}

#[tokio::main]
#[expect(clippy::print_stderr, reason = "a program of the benchmark speaks for itself")]
async fn main() -> ExitCode {
    match serve(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("simulated: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(arguments: Arguments) -> io::Result<()> {
    let key = load_secret_key(&arguments.host_key, None).map_err(io::Error::other)?;
    let config = Arc::new(server::Config {
        keys: vec![key],
        nodelay: true,
        // Small buffers: thousands of connections are held at once.
        window_size: 256 * 1024,
        channel_buffer_size: 8,
        ..server::Config::default()
    });
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(([0, 0, 0, 0], arguments.port).into())?;
    let listener = socket.listen(8192)?;
    let memory = Arc::new(Memory { shell: arguments.shell, answers: Mutex::default() });
    loop {
        let (stream, _) = listener.accept().await?;
        let (config, memory) = (config.clone(), memory.clone());
        tokio::spawn(async move {
            let host = Host { memory, sessions: HashMap::new() };
            if let Ok(session) = server::run_stream(config, stream, host).await {
                session.await.ok();
            }
        });
    }
}

/// What was asked of a host: the command of the session, and the script.
type Question = (String, Vec<u8>);

/// What a real host has answered.
struct Memory {
    shell: Vec<String>,
    answers: Mutex<HashMap<Question, Arc<OnceCell<Answer>>>>,
}

/// An answer, cut where the boundary of its request stood.
#[derive(Clone)]
struct Answer {
    output: Vec<Vec<u8>>,
    errors: Vec<Vec<u8>>,
}

impl Memory {
    async fn answer(&self, command: &str, boundary: &str, script: Vec<u8>) -> io::Result<(Vec<u8>, Vec<u8>)> {
        let question = (command.to_owned(), script);
        let cell =
            self.answers.lock().unwrap_or_else(PoisonError::into_inner).entry(question.clone()).or_default().clone();
        let answer = cell.get_or_try_init(|| self.ask(&question)).await?;
        Ok((with_boundary(&answer.output, boundary), with_boundary(&answer.errors, boundary)))
    }

    async fn ask(&self, (command, script): &Question) -> io::Result<Answer> {
        let boundary = format!("{:032x}", rand::random::<u128>());
        let (program, words) = self.shell.split_first().ok_or_else(|| io::Error::other("no shell is given"))?;
        let mut child = Command::new(program)
            .args(words)
            .args(["-c", command])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let mut request = format!("{} {boundary} 0\n", script.len()).into_bytes();
        request.extend_from_slice(script);
        request.extend_from_slice(format!("{boundary}\n").as_bytes());
        if let Some(mut input) = child.stdin.take() {
            input.write_all(&request).await?;
        }
        let done = child.wait_with_output().await?;
        let cut = |bytes: &[u8]| {
            let mut pieces = Vec::new();
            let mut from = 0;
            for at in memmem::find_iter(bytes, boundary.as_bytes()) {
                pieces.push(bytes.get(from..at).unwrap_or_default().to_vec());
                from = at + boundary.len();
            }
            pieces.push(bytes.get(from..).unwrap_or_default().to_vec());
            pieces
        };
        Ok(Answer { output: cut(&done.stdout), errors: cut(&done.stderr) })
    }
}

fn with_boundary(pieces: &[Vec<u8>], boundary: &str) -> Vec<u8> {
    pieces.join(boundary.as_bytes())
}

/// One connection.
struct Host {
    memory: Arc<Memory>,
    sessions: HashMap<ChannelId, Shell>,
}

#[derive(Default)]
struct Shell {
    command: String,
    input: Vec<u8>,
}

impl Shell {
    /// Returns the next request once all of it is here: its boundary and its script.
    fn request(&mut self) -> Result<Option<(String, Vec<u8>)>, russh::Error> {
        let Some(end) = memchr::memchr(b'\n', &self.input) else { return Ok(None) };
        let line = String::from_utf8_lossy(self.input.get(..end).unwrap_or_default()).into_owned();
        let mut words = line.split(' ');
        let (Some(length), Some(boundary), Some("0")) = (words.next(), words.next(), words.next()) else {
            return Err(russh::Error::Inconsistent);
        };
        let length: usize = length.parse().map_err(|_| russh::Error::Inconsistent)?;
        let from = end + 1;
        let to = from + length + boundary.len() + 1;
        if self.input.len() < to {
            return Ok(None);
        }
        let script = self.input.get(from..from + length).unwrap_or_default().to_vec();
        let boundary = boundary.to_owned();
        self.input.drain(..to);
        Ok(Some((boundary, script)))
    }
}

impl server::Handler for Host {
    type Error = russh::Error;

    async fn auth_publickey(&mut self, _: &str, _: VerifiedPublicKey<'_>) -> Result<Auth, russh::Error> {
        Ok(Auth::Accept)
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), russh::Error> {
        self.sessions.insert(channel.id(), Shell::default());
        reply.accept().await;
        Ok(())
    }

    async fn exec_request(&mut self, id: ChannelId, command: &[u8], session: &mut Session) -> Result<(), russh::Error> {
        if let Some(shell) = self.sessions.get_mut(&id) {
            shell.command = String::from_utf8_lossy(command).into_owned();
        }
        session.channel_success(id)
    }

    async fn data(&mut self, id: ChannelId, data: &[u8], session: &mut Session) -> Result<(), russh::Error> {
        let Some(shell) = self.sessions.get_mut(&id) else { return Ok(()) };
        shell.input.extend_from_slice(data);
        while let Some((boundary, script)) = shell.request()? {
            let (output, errors) = self.memory.answer(&shell.command, &boundary, script).await?;
            session.extended_data(id, 1, errors)?;
            session.data(id, output)?;
        }
        Ok(())
    }

    async fn channel_eof(&mut self, id: ChannelId, session: &mut Session) -> Result<(), russh::Error> {
        self.sessions.remove(&id);
        session.exit_status_request(id, 0)?;
        session.eof(id)?;
        session.close(id)
    }
}
