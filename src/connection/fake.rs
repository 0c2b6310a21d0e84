//! Hosts that only exist on paper: what each answers is scripted, and what it was sent is recorded.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;

use super::{
    Connect, ConnectError, Counters, Ended, Frame, Payload, Request, Route, Session, SessionError, Unreachable,
};
use crate::addr::HostName;
use crate::fs;
use crate::shell::Script;

/// Works out the frames and the status of an answer.
pub type Reply = Box<dyn FnMut(&Exchange) -> (Vec<Frame>, i32) + Send>;

/// What a fake host does with the next request, or with the next attempt to connect.
pub enum Answer {
    /// Hands back these frames and ends with this status.
    Frames(Vec<Frame>, i32),
    /// Does the next answer only after this long.
    Later(Duration, Box<Answer>),
    /// Hands back these frames, and then the connection breaks.
    Drop(Vec<Frame>),
    /// Says nothing for as long as the request allows.
    Silence,
    /// Works out the frames and the status from what it was sent.
    Reply(Reply),
}

/// What a fake host was sent.
#[derive(Clone, Debug, PartialEq)]
pub struct Exchange {
    /// The host.
    pub host: HostName,
    /// The script.
    pub script: Script,
    /// The bytes of the payloads; files are read.
    pub payloads: Vec<Vec<u8>>,
}

#[derive(Default)]
struct State {
    answers: HashMap<HostName, VecDeque<Answer>>,
    default: Option<Reply>,
    refusals: HashMap<HostName, VecDeque<ConnectError>>,
    record: Vec<Exchange>,
    opened: Vec<HostName>,
}

/// A fleet of fake hosts.
#[derive(Clone, Default)]
pub struct Fleet(Arc<Mutex<State>>);

impl Fleet {
    /// Returns a fleet in which no host has an answer to anything.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds what `host` does with a request; answers are used in the order they were added.
    pub fn answer(&self, host: impl Into<HostName>, answer: Answer) -> &Self {
        self.lock().answers.entry(host.into()).or_default().push_back(answer);
        self
    }

    /// Says what every host does that has no answer left.
    pub fn otherwise(&self, reply: impl FnMut(&Exchange) -> (Vec<Frame>, i32) + Send + 'static) -> &Self {
        self.lock().default = Some(Box::new(reply));
        self
    }

    /// Makes the next attempt to connect to `host` fail.
    pub fn refuse(&self, host: impl Into<HostName>, error: ConnectError) -> &Self {
        self.lock().refusals.entry(host.into()).or_default().push_back(error);
        self
    }

    /// Makes the next attempt to connect to `host` find nobody listening.
    pub fn unreachable(&self, host: impl Into<HostName>) -> &Self {
        let host = host.into();
        let (address, why) = ("192.0.2.1:22".to_owned(), Unreachable::Refused);
        self.refuse(host.clone(), ConnectError::Unreachable { host, address, why, source: None })
    }

    /// Returns everything that the hosts were sent, in order.
    #[must_use = "what the hosts were sent is what the test is about"]
    pub fn record(&self) -> Vec<Exchange> {
        self.lock().record.clone()
    }

    /// Returns the hosts that were connected to, in order.
    #[must_use = "which hosts were connected to is what the test is about"]
    pub fn opened(&self) -> Vec<HostName> {
        self.lock().opened.clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connect for Fleet {
    fn open<'a>(&'a self, route: &'a Route) -> BoxFuture<'a, Result<Box<dyn Session>, ConnectError>> {
        Box::pin(async move {
            let host = route.target.host().clone();
            let mut state = self.lock();
            if let Some(error) = state.refusals.get_mut(&host).and_then(VecDeque::pop_front) {
                return Err(error);
            }
            state.opened.push(host.clone());
            let session: Box<dyn Session> = Box::new(FakeSession { fleet: self.clone(), host, exchanges: 0 });
            Ok(session)
        })
    }
}

struct FakeSession {
    fleet: Fleet,
    host: HostName,
    exchanges: u32,
}

impl FakeSession {
    fn lost(&self, why: &str) -> SessionError {
        SessionError::Lost {
            host: self.host.clone(),
            during: "running the script".to_owned(),
            why: why.to_owned(),
            stderr: String::new(),
        }
    }
}

impl Session for FakeSession {
    fn exchange<'a>(
        &'a mut self,
        request: Request,
        on_frame: &'a mut (dyn FnMut(Frame) + Send),
    ) -> BoxFuture<'a, Result<Ended, SessionError>> {
        Box::pin(async move {
            self.exchanges += 1;
            let mut payloads = Vec::new();
            for payload in &request.payloads {
                payloads.push(match payload {
                    Payload::Bytes(bytes) => bytes.to_vec(),
                    Payload::File { path, size } => fs::read_at_most(path, *size).map_err(|error| {
                        SessionError::LocalFile { host: self.host.clone(), path: path.clone(), source: error.source }
                    })?,
                });
            }
            let exchange = Exchange { host: self.host.clone(), script: request.script, payloads };
            let answer = {
                let mut state = self.fleet.lock();
                state.record.push(exchange.clone());
                state.answers.get_mut(&self.host).and_then(VecDeque::pop_front)
            };
            let mut answer = match answer {
                Some(answer) => answer,
                None => {
                    let mut state = self.fleet.lock();
                    match &mut state.default {
                        Some(reply) => {
                            let (frames, status) = reply(&exchange);
                            Answer::Frames(frames, status)
                        }
                        None => return Err(self.lost("the test has no answer for this request")),
                    }
                }
            };
            while let Answer::Later(delay, next) = answer {
                tokio::time::sleep(delay).await;
                answer = *next;
            }
            let (frames, status) = match answer {
                Answer::Frames(frames, status) => (frames, Some(status)),
                Answer::Drop(frames) => (frames, None),
                Answer::Reply(mut reply) => {
                    let (frames, status) = reply(&exchange);
                    (frames, Some(status))
                }
                Answer::Silence | Answer::Later(..) => {
                    let after = request.deadline.unwrap_or(Duration::from_secs(3600));
                    tokio::time::sleep(after).await;
                    let during = "running the script".to_owned();
                    return Err(SessionError::Silent { host: self.host.clone(), after, during, stderr: String::new() });
                }
            };
            frames.into_iter().for_each(on_frame);
            match status {
                Some(status) => Ok(Ended { status, stderr: String::new() }),
                None => Err(self.lost("the test broke the connection")),
            }
        })
    }

    fn counters(&self) -> Counters {
        Counters { round_trips: self.exchanges, exchanges: self.exchanges, ..Counters::default() }
    }

    fn close(self: Box<Self>) -> BoxFuture<'static, ()> {
        Box::pin(async {})
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::Target;
    use crate::sh;

    fn route(host: &str) -> Route {
        Route { via: Vec::new(), target: Target::Local(host.into()) }
    }

    #[tokio::test(start_paused = true)]
    async fn hosts_answer_as_scripted_and_everything_they_were_sent_is_recorded() {
        let fleet = Fleet::new();
        let mark = |words: &str| Frame::Mark(words.to_owned());
        fleet.answer("web1", Answer::Frames(vec![mark("a")], 3)).answer("web1", Answer::Drop(vec![mark("b")]));
        fleet.answer("web2", Answer::Later(Duration::from_secs(5), Box::new(Answer::Silence)));
        fleet.otherwise(|exchange| (vec![Frame::Data(exchange.payloads.concat())], 0)).unreachable("web3");

        let mut seen = Vec::new();
        let mut web1 = fleet.open(&route("web1")).await.unwrap();
        let request = || Request::new(sh!("echo {}", "x y"), Duration::from_secs(60));
        assert_eq!(web1.exchange(request(), &mut |frame| seen.push(frame)).await.unwrap().status, 3);
        let error = web1.exchange(request(), &mut |frame| seen.push(frame)).await.unwrap_err();
        assert!(matches!(error, SessionError::Lost { .. }));
        let payloads = vec![Payload::Bytes(Arc::from(*b"c"))];
        let echo = web1.exchange(Request { payloads, ..request() }, &mut |frame| seen.push(frame)).await.unwrap();
        assert_eq!((echo.status, seen), (0, vec![mark("a"), mark("b"), Frame::Data(b"c".to_vec())]));

        let start = tokio::time::Instant::now();
        let mut web2 = fleet.open(&route("web2")).await.unwrap();
        let error = web2.exchange(request(), &mut |_| {}).await.unwrap_err();
        assert!(matches!(error, SessionError::Silent { .. }));
        assert_eq!(start.elapsed(), Duration::from_secs(65));
        assert!(fleet.open(&route("web3")).await.err().unwrap().is_unreachable());

        assert_eq!(fleet.opened(), ["web1".into(), "web2".into()]);
        let record = fleet.record();
        assert_eq!((record.len(), record[2].payloads.concat()), (4, b"c".to_vec()));
        assert_eq!(record[0].script.text(), "echo 'x y'");
    }
}
