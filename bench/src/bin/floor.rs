//! The floor: the least that a Rust program can do to read many hosts at once. It logs in to each, runs one
//! hand-written script, and counts the bytes that come back. It has no model, no plan and no checks, not even of host keys.
//!
//! Addresses are read from standard input, one a line. It fails if one of the hosts does, or answers differently.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::pin::Pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::task::{Context, Poll};

use clap::Parser;
use futures_util::future::join_all;
use russh::keys::{PrivateKeyWithHashAlg, PublicKeyOrCertificate, load_secret_key};
use russh::{ChannelMsg, Preferred, client, kex};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Log in to hosts, all at once, and run one script on each
#[derive(Parser)]
struct Arguments {
    /// Who logs in
    #[arg(long)]
    user: String,
    /// The private key
    #[arg(long)]
    identity: PathBuf,
    /// The command that reads the script
    #[arg(long, default_value = "sh -s")]
    command: String,
    /// The script
    #[arg(long)]
    script: PathBuf,
    /// How many lines each host must answer at the least
    #[arg(long)]
    at_least: usize,
    /// The port
    #[arg(long, default_value_t = 22)]
    port: u16,
    /// Offer only this key exchange
    #[arg(long)]
    kex: Option<String>,
    /// Offer only this cipher
    #[arg(long)]
    cipher: Option<String>,
}

#[tokio::main]
#[expect(clippy::disallowed_methods, reason = "the tool's own wrappers are the tool's")]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let key = match load_secret_key(&arguments.identity, None) {
        Ok(key) => Arc::new(key),
        Err(error) => return failed(&format!("read {}: {error}", arguments.identity.display())),
    };
    let script = match std::fs::read(&arguments.script) {
        Ok(script) => Arc::<[u8]>::from(script),
        Err(error) => return failed(&format!("read {}: {error}", arguments.script.display())),
    };
    let mut preferred = Preferred::default();
    if let Some(name) = &arguments.kex {
        let Ok(chosen) = kex::Name::try_from(name.as_str()) else {
            return failed(&format!("no such key exchange: {name}"));
        };
        preferred.kex = vec![chosen, kex::EXTENSION_SUPPORT_AS_CLIENT].into();
    }
    if let Some(name) = &arguments.cipher {
        let Ok(chosen) = russh::cipher::Name::try_from(name.as_str()) else {
            return failed(&format!("no such cipher: {name}"));
        };
        preferred.cipher = vec![chosen].into();
    }
    let config = Arc::new(client::Config { preferred, nodelay: true, ..client::Config::default() });
    let mut addresses = Vec::new();
    for line in io::stdin().lines().map_while(Result::ok).filter(|line| !line.trim().is_empty()) {
        match line.trim().parse::<IpAddr>() {
            Ok(address) => addresses.push(SocketAddr::new(address, arguments.port)),
            Err(error) => return failed(&format!("{line}: {error}")),
        }
    }
    let answers = join_all(addresses.iter().map(|address| {
        let (config, key, script) = (config.clone(), key.clone(), script.clone());
        let (user, command) = (arguments.user.clone(), arguments.command.clone());
        tokio::spawn(read(*address, config, user, key, command, script))
    }))
    .await;
    for (address, answer) in addresses.iter().zip(answers) {
        let answer = match answer {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => return failed(&format!("{address}: {error}")),
            Err(error) => return failed(&format!("{address}: {error}")),
        };
        let lines = memchr::memchr_iter(b'\n', &answer).count();
        if lines < arguments.at_least {
            let said = String::from_utf8_lossy(&answer).into_owned();
            return failed(&format!("{address}: it answered {lines} lines, not {}:\n{said}", arguments.at_least));
        }
    }
    ExitCode::SUCCESS
}

#[expect(clippy::print_stderr, reason = "a program of the benchmark speaks for itself")]
fn failed(text: &str) -> ExitCode {
    eprintln!("floor: {text}");
    ExitCode::FAILURE
}

async fn read(
    address: SocketAddr,
    config: Arc<client::Config>,
    user: String,
    key: Arc<russh::keys::PrivateKey>,
    command: String,
    script: Arc<[u8]>,
) -> Result<Vec<u8>, russh::Error> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let mut handle = client::connect_stream(config, Acknowledged(stream), Anybody).await?;
    let login = handle.authenticate_publickey(user, PrivateKeyWithHashAlg::new(key, None)).await?;
    if !login.success() {
        return Err(russh::Error::NotAuthenticated);
    }
    let mut channel = handle.channel_open_session().await?;
    channel.exec(false, command).await?;
    channel.data_bytes(script.to_vec()).await?;
    channel.eof().await?;
    let mut answer = Vec::new();
    while let Some(message) = channel.wait().await {
        if let ChannelMsg::Data { data } = message {
            answer.extend_from_slice(&data);
        }
    }
    Ok(answer)
}

/// Takes any host key.
struct Anybody;

impl client::Handler for Anybody {
    type Error = russh::Error;

    async fn check_server_key(&mut self, _: &PublicKeyOrCertificate) -> Result<bool, russh::Error> {
        Ok(true)
    }
}

/// A stream that acknowledges at once: otherwise the server's Nagle and our delayed acknowledgement wait for each other.
struct Acknowledged(TcpStream);

impl AsyncRead for Acknowledged {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.0).poll_read(cx, buf);
        if result.is_ready() {
            socket2::SockRef::from(&self.0).set_tcp_quickack(true).ok();
        }
        result
    }
}

impl AsyncWrite for Acknowledged {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
