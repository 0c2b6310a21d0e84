//! Who we are: private keys from files, certificates beside them, and the keys of an SSH agent.
//!
//! They are loaded once for all hosts. The key that let a user in on one host is offered first on the next, since each
//! refused key costs a round trip and, on a hardened host, counts as a failed login.

use std::collections::HashMap;
use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use camino::{Utf8Path, Utf8PathBuf};
use russh::MethodKind;
use russh::client::{AuthResult, Handle, Handler};
use russh::keys::agent::AgentIdentity;
use russh::keys::agent::client::AgentClient;
use russh::keys::{Algorithm, Certificate, HashAlg, PrivateKey, PrivateKeyWithHashAlg, PublicKey};
use tokio::net::UnixStream;
use tokio::sync::OnceCell;

use super::hostkeys::address_of;
use super::{AgentUse, ConnectError, Endpoint, Settings, Unreachable};
use crate::fs;

/// A key file larger than this is none.
const FILE_LIMIT: u64 = 256 * 1024;

/// How many keys are offered to one host: OpenSSH hangs up at the sixth failure (`MaxAuthTries`).
const OFFERS: usize = 5;

/// A key file. Without the private half it can be used only through an agent.
struct KeyFile {
    path: Utf8PathBuf,
    public: PublicKey,
    private: Option<Arc<PrivateKey>>,
    certificate: Option<Certificate>,
}

/// Something to log in with.
struct Candidate {
    /// What it is called in an error.
    name: String,
    public: PublicKey,
    certificate: Option<Certificate>,
    /// The private key; the agent signs where there is none.
    private: Option<Arc<PrivateKey>>,
}

#[derive(Default)]
struct Candidates {
    usable: Vec<Candidate>,
    /// What cannot be tried, and why.
    notes: Vec<String>,
}

/// All that we can log in with.
pub(super) struct Keyring {
    files: Vec<KeyFile>,
    agent: AgentUse,
    socket: Option<Utf8PathBuf>,
    candidates: OnceCell<Candidates>,
    /// For each user, which candidate worked last.
    lucky: Mutex<HashMap<String, usize>>,
}

impl Keyring {
    /// Loads the key files.
    pub(super) fn load(settings: &Settings) -> Result<Self, ConnectError> {
        let files = match settings.agent {
            AgentUse::Only => Vec::new(),
            _ => settings.identities.iter().map(|path| load_file(path)).collect::<Result<_, _>>()?,
        };
        let socket = settings.agent_socket.clone();
        let socket = socket.or_else(|| std::env::var("SSH_AUTH_SOCK").ok().map(Utf8PathBuf::from));
        let candidates = OnceCell::new();
        Ok(Self { files, agent: settings.agent, socket, candidates, lucky: Mutex::default() })
    }

    /// Logs in, and returns how many round trips that took.
    pub(super) async fn login<H: Handler>(
        &self,
        handle: &mut Handle<H>,
        endpoint: &Endpoint,
    ) -> Result<u32, ConnectError> {
        let candidates = self.candidates.get_or_init(|| self.gather()).await;
        let lucky = self.lucky.lock().unwrap_or_else(PoisonError::into_inner).get(&endpoint.user).copied();
        let mut order: Vec<usize> = (0..candidates.usable.len()).collect();
        order.sort_by_key(|at| Some(*at) != lucky);

        let mut round_trips = 1; // the service request
        let mut tried = Vec::new();
        let mut accepted = Vec::new();
        for at in order.into_iter().take(OFFERS) {
            let Some(candidate) = candidates.usable.get(at) else { continue };
            round_trips += 1;
            match self.offer(handle, &endpoint.user, candidate).await {
                Ok(AuthResult::Success) => {
                    self.lucky.lock().unwrap_or_else(PoisonError::into_inner).insert(endpoint.user.clone(), at);
                    return Ok(round_trips + 1);
                }
                Ok(AuthResult::Failure { remaining_methods, partial_success }) => {
                    accepted = remaining_methods.iter().map(|method| <&str>::from(method).to_owned()).collect();
                    if partial_success {
                        let more = accepted.join(" or ");
                        tried.push(format!("{} (accepted, but the host asks for {more} as well)", candidate.name));
                        break;
                    }
                    tried.push(candidate.name.clone());
                    if !remaining_methods.contains(&MethodKind::PublicKey) {
                        break;
                    }
                }
                Err(Offer::Agent(reason)) => tried.push(format!("{} ({reason})", candidate.name)),
                Err(Offer::Gone(source)) if tried.is_empty() => {
                    return Err(ConnectError::Unreachable {
                        host: endpoint.host.clone(),
                        address: address_of(endpoint),
                        why: Unreachable::Closed,
                        source: Some(std::io::Error::other(source)),
                    });
                }
                Err(Offer::Gone(_)) => {
                    tried.push(format!("{} (the host hung up)", candidate.name));
                    break;
                }
            }
        }
        let more = candidates.usable.len().saturating_sub(OFFERS);
        if more > 0 && tried.len() >= OFFERS {
            tried.push(format!("not {more} more, as hosts hang up after a few"));
        }
        tried.extend(candidates.notes.iter().cloned());
        Err(ConnectError::LoginRefused { host: endpoint.host.clone(), user: endpoint.user.clone(), tried, accepted })
    }

    async fn offer<H: Handler>(
        &self,
        handle: &mut Handle<H>,
        user: &str,
        candidate: &Candidate,
    ) -> Result<AuthResult, Offer> {
        let gone = |error: russh::Error| Offer::Gone(error.to_string());
        // Every server since 2016 takes this for RSA; to ask it first may cost a second.
        let hash = matches!(candidate.public.algorithm(), Algorithm::Rsa { .. }).then_some(HashAlg::Sha512);
        match (&candidate.private, &candidate.certificate) {
            (Some(key), Some(certificate)) => {
                handle.authenticate_openssh_cert(user, key.clone(), certificate.clone()).await.map_err(gone)
            }
            (Some(key), None) => {
                let key = PrivateKeyWithHashAlg::new(key.clone(), hash);
                handle.authenticate_publickey(user, key).await.map_err(gone)
            }
            (None, certificate) => {
                let mut agent = self.connect_agent().await.map_err(Offer::Agent)?;
                let result = match certificate {
                    Some(certificate) => {
                        handle.authenticate_certificate_with(user, certificate.clone(), hash, &mut agent).await
                    }
                    None => handle.authenticate_publickey_with(user, candidate.public.clone(), hash, &mut agent).await,
                };
                result.map_err(|error| match error {
                    russh::AgentAuthError::Send(error) => Offer::Gone(error.to_string()),
                    russh::AgentAuthError::Key(error) => Offer::Agent(format!("the agent did not sign: {error}")),
                })
            }
        }
    }

    async fn connect_agent(&self) -> Result<AgentClient<UnixStream>, String> {
        let socket = self.socket.as_ref().ok_or("no agent: SSH_AUTH_SOCK is not set")?;
        AgentClient::connect_uds(socket).await.map_err(|error| format!("no agent at {socket}: {error}"))
    }

    async fn gather(&self) -> Candidates {
        let mut all = Candidates::default();
        let held = match self.agent {
            AgentUse::Never => Vec::new(),
            // Nobody asked for an agent by name, and there is none: nothing to tell.
            AgentUse::AfterFiles if self.socket.is_none() => Vec::new(),
            _ => match self.list_agent().await {
                Ok(held) => held,
                Err(reason) => {
                    all.notes.push(reason);
                    Vec::new()
                }
            },
        };
        for file in &self.files {
            all.add_file(file, &held);
        }
        for identity in &held {
            let (public, certificate) = match identity {
                AgentIdentity::PublicKey { key, .. } => (key.clone(), None),
                AgentIdentity::Certificate { certificate, .. } => {
                    (PublicKey::new(certificate.public_key().clone(), ""), Some(certificate.clone()))
                }
            };
            let name = format!("the agent's {}", describe(identity.comment(), &public));
            all.add(name, &public, certificate, None);
        }
        all
    }

    async fn list_agent(&self) -> Result<Vec<AgentIdentity>, String> {
        let mut agent = self.connect_agent().await?;
        agent.request_identities().await.map_err(|error| format!("the agent lists no keys: {error}"))
    }
}

/// Why an offer came to nothing.
enum Offer {
    /// The agent failed; another key may do.
    Agent(String),
    /// The connection is gone.
    Gone(String),
}

impl Candidates {
    fn add_file(&mut self, file: &KeyFile, held: &[AgentIdentity]) {
        let is_held = held.iter().any(|identity| identity.public_key().key_data() == file.public.key_data());
        if file.private.is_none() && !is_held {
            self.notes.push(format!("{} (has a passphrase, and no agent holds it)", file.path));
            return;
        }
        if let Some(certificate) = &file.certificate {
            let name = format!("{} with its certificate", file.path);
            self.add(name, &file.public, Some(certificate.clone()), file.private.clone());
        }
        self.add(file.path.to_string(), &file.public, None, file.private.clone());
    }

    fn add(
        &mut self,
        name: String,
        public: &PublicKey,
        certificate: Option<Certificate>,
        private: Option<Arc<PrivateKey>>,
    ) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        if certificate.as_ref().is_some_and(|certificate| certificate.valid_before() <= now) {
            self.notes.push(format!("{name} (the certificate has expired)"));
            return;
        }
        let is_same = |known: &Candidate| {
            known.public.key_data() == public.key_data() && known.certificate.is_some() == certificate.is_some()
        };
        if !self.usable.iter().any(is_same) {
            self.usable.push(Candidate { name, public: public.clone(), certificate, private });
        }
    }
}

fn describe(comment: &str, key: &PublicKey) -> String {
    if comment.is_empty() { key.fingerprint(HashAlg::Sha256).to_string() } else { comment.escape_debug().to_string() }
}

fn load_file(path: &Utf8Path) -> Result<KeyFile, ConnectError> {
    let unusable = |reason: String| ConnectError::KeyFile { path: path.to_owned(), reason };
    let bytes = zeroize::Zeroizing::new(fs::read_at_most(path, FILE_LIMIT)?);
    let text = std::str::from_utf8(&bytes).map_err(|_| unusable("it is not text".to_owned()))?;
    // A public key names one that an agent holds.
    if let Ok(public) = PublicKey::from_openssh(text.trim()) {
        return Ok(KeyFile { path: path.to_owned(), public, private: None, certificate: None });
    }
    let mode = fs::metadata(path)?.map_or(0, |found| found.permissions().mode() & 0o777);
    if mode & 0o077 != 0 {
        return Err(unusable(format!("others may read it (mode {mode:04o}): `chmod 600 {path}`")));
    }
    let key = match PrivateKey::from_openssh(text) {
        Ok(key) => key,
        Err(_) => russh::keys::decode_secret_key(text, None).map_err(|error| match error {
            russh::keys::Error::KeyIsEncrypted => {
                unusable(format!("it has a passphrase: load it into an SSH agent (`ssh-add {path}`)"))
            }
            error => unusable(error.to_string()),
        })?,
    };
    let beside = Utf8PathBuf::from(format!("{path}-cert.pub"));
    let certificate = match fs::metadata(&beside)? {
        None => None,
        Some(_) => {
            let text = fs::read_to_string(&beside)?;
            let certificate = Certificate::from_openssh(text.trim())
                .map_err(|error| ConnectError::KeyFile { path: beside.clone(), reason: error.to_string() })?;
            if certificate.public_key() != key.public_key().key_data() {
                let reason = format!("it is the certificate of another key than {path}");
                return Err(ConnectError::KeyFile { path: beside, reason });
            }
            Some(certificate)
        }
    };
    let public = key.public_key().clone();
    let private = (!key.is_encrypted()).then(|| Arc::new(key));
    Ok(KeyFile { path: path.to_owned(), public, private, certificate })
}
