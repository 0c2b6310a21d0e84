//! The way over SSH: dial, check the host, log in, start the driver.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use futures_util::future::{BoxFuture, join_all};
use russh::client::{self, DisconnectReason, Handle};
use russh::keys::{HashAlg, PublicKey, PublicKeyOrCertificate};
use russh::{ChannelMsg, ChannelOpenFailure, ChannelReadHalf, Preferred};
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};

use super::bastion::{Bastions, Ticket};
use super::driver::{self, Elevation};
use super::hostkeys::{self, KnownHosts, Trust, address_of};
use super::keys::Keyring;
use super::local::Local;
use super::session::{Heard, Outlet, Parts, Shell, Start};
use super::wire::{Carrier, Cut, Meter, Wire};
use super::{Become, Connect, ConnectError, Endpoint, Route, Session, Settings, Target, Unreachable};
use crate::addr::HostName;

/// How long sent bytes may stay without an acknowledgement before the system gives a connection up.
const SEND_TIMEOUT: Duration = Duration::from_secs(60);

/// A host key that a host offers, as shown to somebody who is to trust it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OfferedKey {
    /// The algorithm, such as `ssh-ed25519`.
    pub algorithm: String,
    /// The key as one line, the form in which it is recorded.
    pub line: String,
    /// Its SHA-256 fingerprint, the form in which it is compared.
    pub fingerprint: String,
}

/// Opens sessions; holds the keys of this run and the connections to its bastions.
#[derive(Clone)]
pub struct Connector(Arc<Shared>);

pub(super) struct Shared {
    pub(super) settings: Settings,
    keys: Keyring,
    known: KnownHosts,
    bastions: Bastions,
}

impl Connector {
    /// Returns a connector. Keys and known_hosts files are loaded now; the agent is asked with the first login.
    ///
    /// # Errors
    /// Fails if a key file or a known_hosts file that is there cannot be used.
    pub fn new(settings: Settings) -> Result<Self, ConnectError> {
        let keys = Keyring::load(&settings)?;
        let known = KnownHosts::load(&settings.known_hosts)?;
        Ok(Self(Arc::new(Shared { settings, keys, known, bastions: Bastions::default() })))
    }

    /// Opens a session with the host at the end of `route`.
    ///
    /// # Errors
    /// That the host gives no shell, or no root, shows only with the first request, which is sent ahead.
    pub async fn open(&self, route: &Route) -> Result<Box<dyn Session>, ConnectError> {
        match &route.target {
            Target::Local(host) => Local::new(host.clone()).become_root(self.0.settings.become_root.clone()).open(),
            Target::Ssh(endpoint) => self.0.open(&route.via, endpoint).await,
        }
    }

    /// Returns the host keys that the host at the end of `route` offers, without logging in to it.
    ///
    /// Nothing is checked: they are to be compared with what the host's console shows.
    ///
    /// # Errors
    /// Fails if the host cannot be reached, or a bastion on the way cannot be used.
    pub async fn host_keys(&self, route: &Route) -> Result<Vec<OfferedKey>, ConnectError> {
        let Target::Ssh(endpoint) = &route.target else {
            return Ok(Vec::new());
        };
        let asked = hostkeys::key_kinds().map(|kinds| {
            let shown = Arc::new(Mutex::new(None));
            async move {
                let guard = Inspection::Show(shown.clone());
                let result = self.0.reach(&route.via, endpoint, guard, hostkeys::preferred(kinds, Vec::new())).await;
                let key: Option<PublicKey> = shown.lock().unwrap_or_else(PoisonError::into_inner).take();
                match (key, result) {
                    (Some(key), _) => Ok(Some(key)),
                    (None, Err(error)) => Err(error),
                    (None, Ok(_)) => Ok(None),
                }
            }
        });
        let mut offered = Vec::new();
        let mut failure = None;
        for answer in join_all(asked).await {
            match answer {
                Ok(key) => offered.extend(key.map(|key| OfferedKey {
                    algorithm: key.algorithm().to_string(),
                    line: key.to_openssh().unwrap_or_default(),
                    fingerprint: key.fingerprint(HashAlg::Sha256).to_string(),
                })),
                // A host need not have a key of each kind.
                Err(error) => failure = Some(error),
            }
        }
        match failure {
            Some(error) if offered.is_empty() => Err(error),
            _ => Ok(offered),
        }
    }
}

impl Connect for Connector {
    fn open<'a>(&'a self, route: &'a Route) -> BoxFuture<'a, Result<Box<dyn Session>, ConnectError>> {
        Box::pin(self.open(route))
    }
}

/// Looks at the host key on behalf of a connection, and notes how the connection ends.
pub(super) struct Guard {
    endpoint: Endpoint,
    inspection: Inspection,
    gone: Arc<Mutex<Option<String>>>,
}

/// What is done with a host key.
#[derive(Clone)]
pub(super) enum Inspection {
    /// It is checked.
    Check(Arc<Trust>),
    /// It is kept to be shown, and the connection goes no further.
    Show(Arc<Mutex<Option<PublicKey>>>),
}

/// Why a handshake was given up.
#[derive(Debug)]
pub(super) enum Stop {
    Ssh(russh::Error),
    HostKey(Box<ConnectError>),
}

impl From<russh::Error> for Stop {
    fn from(error: russh::Error) -> Self {
        Self::Ssh(error)
    }
}

impl client::Handler for Guard {
    type Error = Stop;

    async fn check_server_key(&mut self, shown: &PublicKeyOrCertificate) -> Result<bool, Stop> {
        match &self.inspection {
            Inspection::Check(trust) => {
                trust.check(&self.endpoint, shown).map(|()| true).map_err(|error| Stop::HostKey(Box::new(error)))
            }
            Inspection::Show(kept) => {
                *kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(shown.public_key());
                Ok(false)
            }
        }
    }

    async fn disconnected(&mut self, reason: DisconnectReason<Stop>) -> Result<(), Stop> {
        let why = match reason {
            DisconnectReason::ReceivedDisconnect(info) => format!("the host hung up: {}", info.message.trim()),
            DisconnectReason::Error(Stop::Ssh(russh::Error::KeepaliveTimeout)) => {
                "the host no longer answers".to_owned()
            }
            DisconnectReason::Error(Stop::Ssh(russh::Error::Disconnect | russh::Error::HUP)) => {
                "the connection was closed".to_owned()
            }
            DisconnectReason::Error(Stop::Ssh(error)) => error.to_string(),
            DisconnectReason::Error(Stop::HostKey(error)) => error.to_string(),
        };
        self.gone.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(why);
        Ok(())
    }

    // A host may not open channels towards us. The default would accept; a dropped reply is a refusal.

    async fn server_channel_open_forwarded_tcpip(
        &mut self,
        _: russh::Channel<client::Msg>,
        _: &str,
        _: u32,
        _: &str,
        _: u32,
        _: client::ChannelOpenHandle,
        _: &mut client::Session,
    ) -> Result<(), Stop> {
        Ok(())
    }

    async fn server_channel_open_forwarded_streamlocal(
        &mut self,
        _: russh::Channel<client::Msg>,
        _: &str,
        _: client::ChannelOpenHandle,
        _: &mut client::Session,
    ) -> Result<(), Stop> {
        Ok(())
    }

    async fn server_channel_open_agent_forward(
        &mut self,
        _: russh::Channel<client::Msg>,
        _: client::ChannelOpenHandle,
        _: &mut client::Session,
    ) -> Result<(), Stop> {
        Ok(())
    }

    async fn server_channel_open_session(
        &mut self,
        _: russh::Channel<client::Msg>,
        _: client::ChannelOpenHandle,
        _: &mut client::Session,
    ) -> Result<(), Stop> {
        Ok(())
    }

    async fn server_channel_open_direct_tcpip(
        &mut self,
        _: russh::Channel<client::Msg>,
        _: &str,
        _: u32,
        _: &str,
        _: u32,
        _: client::ChannelOpenHandle,
        _: &mut client::Session,
    ) -> Result<(), Stop> {
        Ok(())
    }

    async fn server_channel_open_direct_streamlocal(
        &mut self,
        _: russh::Channel<client::Msg>,
        _: &str,
        _: client::ChannelOpenHandle,
        _: &mut client::Session,
    ) -> Result<(), Stop> {
        Ok(())
    }

    async fn server_channel_open_x11(
        &mut self,
        _: russh::Channel<client::Msg>,
        _: &str,
        _: u32,
        _: client::ChannelOpenHandle,
        _: &mut client::Session,
    ) -> Result<(), Stop> {
        Ok(())
    }
}

/// A connection whose host key is checked. It is cut when it is dropped.
pub(super) struct Link {
    pub(super) handle: Handle<Guard>,
    cut: Arc<Cut>,
    meter: Arc<Meter>,
    gone: Arc<Mutex<Option<String>>>,
    /// The bastion's connection that carries this one.
    _ticket: Option<Ticket>,
    pub(super) round_trips: u32,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.cut.cut();
    }
}

impl Shared {
    async fn open(&self, via: &[Endpoint], endpoint: &Endpoint) -> Result<Box<dyn Session>, ConnectError> {
        let link = self.log_in(via, endpoint).await?;
        self.start(link, endpoint).await
    }

    /// Connects and logs in, again if the failure is one that passes.
    pub(super) async fn log_in(&self, via: &[Endpoint], endpoint: &Endpoint) -> Result<Link, ConnectError> {
        let trust = Arc::new(self.known.trust(endpoint)?);
        let attempt = || async {
            let mut link = self.reach(via, endpoint, Inspection::Check(trust.clone()), trust.preferred()).await?;
            let login = timeout(self.settings.login_timeout, self.keys.login(&mut link.handle, endpoint)).await;
            link.round_trips += login.map_err(|_| self.too_long(endpoint))??;
            Ok(link)
        };
        let backoff = ExponentialBuilder::default()
            .with_min_delay(Duration::from_millis(300))
            .with_max_delay(Duration::from_secs(5))
            .with_max_times(self.settings.attempts.saturating_sub(1) as usize)
            .with_jitter();
        attempt.retry(backoff).when(ConnectError::is_passing).await
    }

    /// Connects as far as the checked host key.
    async fn reach(
        &self,
        via: &[Endpoint],
        endpoint: &Endpoint,
        inspection: Inspection,
        preferred: Preferred,
    ) -> Result<Link, ConnectError> {
        let (carrier, ticket, round_trips) = match via.split_last() {
            None => (Carrier::Tcp(self.dial(endpoint).await?), None, 1),
            Some((bastion, before)) => {
                let (channel, ticket, round_trips) = self.through(before, bastion, endpoint).await?;
                (Carrier::Channel(Box::new(channel)), Some(ticket), round_trips)
            }
        };
        let (meter, cut, gone) = (Arc::new(Meter::default()), Arc::new(Cut::default()), Arc::default());
        let config = client::Config {
            preferred,
            nodelay: true,
            keepalive_interval: Some(Duration::from_secs(15)),
            keepalive_max: 4,
            window_size: 1024 * 1024,
            channel_buffer_size: 32,
            client_id: russh::SshId::Standard("SSH-2.0-provision".into()),
            ..client::Config::default()
        };
        let guard = Guard { endpoint: endpoint.clone(), inspection, gone: Arc::clone(&gone) };
        let wire = Wire::new(carrier, meter.clone(), cut.clone());
        let mut handshake = std::pin::pin!(client::connect_stream(Arc::new(config), wire, guard));
        let start = Instant::now();
        // A handshake given up must not leave its task behind.
        let mut abandon = CutOnDrop(Some(cut.clone()));
        let result = match timeout_at(start + self.settings.connect_timeout, &mut handshake).await {
            Ok(result) => result,
            Err(_) if meter.read().1 == 0 => {
                return Err(ConnectError::NoAnswer {
                    host: endpoint.host.clone(),
                    address: address_of(endpoint),
                    after: self.settings.connect_timeout,
                });
            }
            // It speaks, only slowly.
            Err(_) => match timeout_at(start + self.settings.login_timeout, &mut handshake).await {
                Ok(result) => result,
                Err(_) => return Err(self.too_long(endpoint)),
            },
        };
        let handle = result.map_err(|stop| explain_handshake(endpoint, stop))?;
        abandon.0 = None;
        // The identification and the key exchange.
        Ok(Link { handle, cut, meter, gone, _ticket: ticket, round_trips: round_trips + 2 })
    }

    async fn dial(&self, endpoint: &Endpoint) -> Result<TcpStream, ConnectError> {
        let failed = |why, source| ConnectError::Unreachable {
            host: endpoint.host.clone(),
            address: address_of(endpoint),
            why,
            source,
        };
        let connect = async {
            let found = tokio::net::lookup_host((endpoint.address.as_str(), endpoint.port)).await;
            let addresses = found.map_err(|error| failed(Unreachable::Dns, Some(error)))?;
            let addresses: Vec<_> = addresses.collect();
            // One address that swallows packets must not use up the time of the others.
            let share = self.settings.connect_timeout / u32::try_from(addresses.len().max(1)).unwrap_or(u32::MAX);
            let mut last = failed(Unreachable::Dns, None);
            for address in addresses {
                match timeout(share, TcpStream::connect(address)).await {
                    Ok(Ok(stream)) => return Ok(stream),
                    Ok(Err(error)) => last = failed(classify_io(&error), Some(error)),
                    Err(_) => last = failed(Unreachable::TimedOut, None),
                }
            }
            Err(last)
        };
        let stream = match timeout(self.settings.connect_timeout, connect).await {
            Ok(result) => result?,
            Err(_) => return Err(failed(Unreachable::TimedOut, None)),
        };
        stream.set_nodelay(true).map_err(|error| failed(Unreachable::Other, Some(error)))?;
        #[cfg(target_os = "linux")]
        SockRef::from(&stream).set_tcp_user_timeout(Some(SEND_TIMEOUT)).ok();
        Ok(stream)
    }

    /// Returns a channel of a bastion to the endpoint, and how many round trips it took.
    async fn through(
        &self,
        before: &[Endpoint],
        bastion: &Endpoint,
        endpoint: &Endpoint,
    ) -> Result<(russh::ChannelStream<client::Msg>, Ticket, u32), ConnectError> {
        let (ticket, round_trips) = self.bastions.ticket(self, before, bastion, &endpoint.host).await?;
        let unreachable = |why| ConnectError::Unreachable {
            host: endpoint.host.clone(),
            address: address_of(endpoint),
            why,
            source: None,
        };
        let port = u32::from(endpoint.port);
        let opening = ticket.link().handle.channel_open_direct_tcpip(&endpoint.address, port, "127.0.0.1", 0);
        match timeout(self.settings.connect_timeout, opening).await {
            Ok(Ok(channel)) => Ok((channel.into_stream(), ticket, round_trips + 1)),
            Ok(Err(russh::Error::ChannelOpenFailure(ChannelOpenFailure::ConnectFailed))) => {
                Err(unreachable(Unreachable::BeyondBastion))
            }
            Ok(Err(russh::Error::ChannelOpenFailure(_))) => Err(ConnectError::Forwarding {
                host: endpoint.host.clone(),
                address: address_of(endpoint),
                bastion: bastion.host.clone(),
            }),
            Ok(Err(_)) => Err(unreachable(Unreachable::Closed)),
            Err(_) => Err(unreachable(Unreachable::TimedOut)),
        }
    }

    /// Starts the driver on a connection that is logged in, and does not wait for it.
    async fn start(&self, link: Link, endpoint: &Endpoint) -> Result<Box<dyn Session>, ConnectError> {
        let (host, user) = (endpoint.host.clone(), endpoint.user.clone());
        let no_shell = |reason: String| ConnectError::NoShell {
            host: host.clone(),
            user: user.clone(),
            reason,
            said: String::new(),
        };
        let random = || format!("{:032x}", rand::random::<u128>());
        let start = match &self.settings.become_root {
            Become::No => Start::Plain,
            _ if user == "root" => Start::Plain,
            Become::Auto | Become::Sudo => Start::Sudo,
            Become::SudoWithPassword(password) => {
                Start::SudoAsking { password: password.clone(), prompt: random(), hello: random() }
            }
        };
        let command = driver::command(&match &start {
            Start::Plain => Elevation::None,
            Start::Sudo => Elevation::Sudo,
            Start::SudoAsking { prompt, hello, .. } => Elevation::Ask { prompt, hello },
        });
        let opening = timeout(self.settings.login_timeout, link.handle.channel_open_session()).await;
        let channel = opening
            .map_err(|_| no_shell(format!("no channel within {:?}", self.settings.login_timeout)))?
            .map_err(|error| no_shell(link.why_gone().unwrap_or_else(|| error.to_string())))?;
        // The reply is looked for among what the channel brings; the first request does not wait for it.
        channel.exec(true, command.text()).await.map_err(|error| no_shell(error.to_string()))?;
        let (reader, writer) = channel.split();
        let gone = link.gone.clone();
        let parts = Parts {
            host: host.clone(),
            user: user.clone(),
            start,
            start_timeout: self.settings.login_timeout,
            // The channel, and its first window, which OpenSSH opens only once the shell is there.
            round_trips: link.round_trips + 2,
            input: Box::new(writer.make_writer()),
            meter: link.meter.clone(),
            link: Box::new(link),
        };
        Ok(Box::new(Shell::new(parts, |outlet| drain(reader, outlet, gone))))
    }

    fn too_long(&self, endpoint: &Endpoint) -> ConnectError {
        ConnectError::Handshake {
            host: endpoint.host.clone(),
            address: address_of(endpoint),
            reason: format!("the login takes longer than {:?}", self.settings.login_timeout),
        }
    }
}

impl Link {
    fn why_gone(&self) -> Option<String> {
        self.gone.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

struct CutOnDrop(Option<Arc<Cut>>);

impl Drop for CutOnDrop {
    fn drop(&mut self) {
        if let Some(cut) = &self.0 {
            cut.cut();
        }
    }
}

fn classify_io(error: &io::Error) -> Unreachable {
    match error.kind() {
        _ if error.raw_os_error() == Some(rustix::io::Errno::MFILE.raw_os_error()) => Unreachable::Descriptors,
        io::ErrorKind::ConnectionRefused => Unreachable::Refused,
        io::ErrorKind::TimedOut => Unreachable::TimedOut,
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => Unreachable::NoRoute,
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::UnexpectedEof => {
            Unreachable::Closed
        }
        _ => Unreachable::Other,
    }
}

fn explain_handshake(endpoint: &Endpoint, stop: Stop) -> ConnectError {
    let (host, address): (HostName, String) = (endpoint.host.clone(), address_of(endpoint));
    match stop {
        Stop::HostKey(error) => *error,
        // A server that is busy (`MaxStartups`) hangs up before its first word or amid the key exchange.
        Stop::Ssh(russh::Error::Disconnect | russh::Error::HUP) => {
            ConnectError::Unreachable { host, address, why: Unreachable::Closed, source: None }
        }
        Stop::Ssh(russh::Error::IO(error)) => {
            ConnectError::Unreachable { host, address, why: classify_io(&error), source: Some(error) }
        }
        Stop::Ssh(error) => ConnectError::Handshake { host, address, reason: error.to_string() },
    }
}

/// Reads the channel until it is closed.
async fn drain(mut reader: ChannelReadHalf, outlet: Outlet, gone: Arc<Mutex<Option<String>>>) {
    let mut status = None;
    let mut why = None;
    while let Some(message) = reader.wait().await {
        match message {
            ChannelMsg::Data { data } => outlet.put(Heard::Output(data.into())).await,
            ChannelMsg::ExtendedData { data, ext: 1 } => outlet.put(Heard::Errors(data.into())).await,
            ChannelMsg::ExitStatus { exit_status } => {
                status = Some(i32::try_from(exit_status).unwrap_or(i32::MAX));
                why = Some(format!("the shell ended with status {exit_status}"));
            }
            ChannelMsg::ExitSignal { signal_name, .. } => {
                why = Some(format!("the shell was killed by {signal_name:?}"))
            }
            ChannelMsg::Failure => {
                why = Some("the host refuses to run a command".to_owned());
                break;
            }
            _ => {}
        }
    }
    // When the connection itself broke, its task says why just after it closed the channel.
    if why.is_none() {
        tokio::task::yield_now().await;
        why = gone.lock().unwrap_or_else(PoisonError::into_inner).clone();
    }
    let why = why.unwrap_or_else(|| "the connection was closed".to_owned());
    outlet.put(Heard::Exit { status, why }).await;
}
