//! A client that stays: one thread owns the session and its socket; any thread may call.

use std::{
    io,
    sync::{
        Arc, PoisonError,
        mpsc::{Receiver, RecvTimeoutError, sync_channel},
    },
    thread::JoinHandle,
    time::Duration,
};

use clawgate_core::{
    client::{
        Call, CallError as NoAnswer, Disconnected, Ending, Gap, Hello, HistoryLoss, Limits, Next,
        Phase, Profile, RequestError, Target,
    },
    frame::{IncomingEvent, RawJson},
};

use crate::{
    error::CallError,
    worker::{self, Answer, Command, Shared, Ticket},
};

/// Calls that may wait to be taken over by the client's thread.
const MAX_COMMANDS: usize = 1024;

/// How a client is made.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// Limits of its connections; `total`, where given, is for the client as a whole.
    pub limits: Limits,
    /// Events that may wait for the reader. More are dropped, and [`ClientEvent::Missed`] says how
    /// many.
    pub max_events: usize,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            max_events: 1024,
        }
    }
}

/// What a client tells its reader.
#[derive(Clone, Debug)]
pub enum ClientEvent {
    /// A connection stands; calls can be made. State of an earlier one is stale.
    Connected(Box<Hello>),
    /// There is no connection.
    Disconnected {
        /// Why.
        why: Disconnected,
        /// What the client does about it.
        next: Next,
    },
    /// An event of the gateway.
    Event(IncomingEvent),
    /// The stored device token is worthless: delete it.
    ForgetDeviceToken,
    /// The gateway skipped events because this client was slow.
    Gap(Gap),
    /// Events are missing, and the gateway cannot give them any more. Only for a profile with the
    /// capability [`RESUME_CAP`](clawgate_core::protocol::RESUME_CAP).
    HistoryLost(HistoryLoss),
    /// Events were dropped because they were not read in time.
    Missed(u64),
    /// The gateway gives the events that were missed: so many, which come next. Only for a profile
    /// with the capability.
    Resumed {
        /// How many.
        events: usize,
    },
}

/// A lasting client with reconnection. Clones are not needed: share it in an `Arc`.
///
/// ```no_run
/// use std::time::Duration;
/// use clawgate_core::{
///     client::{Call, Profile, Route, Target},
///     frame::RawJson,
///     policy::{Endpoint, Scheme},
///     protocol::{AuthParams, ClientId, ClientInfo, ClientMode},
/// };
/// use clawgate_std::{Client, ClientEvent, ClientOptions};
///
/// let route = Route::unpinned(Endpoint::local(Scheme::Ws, 18789));
/// let target = Target::new(route, AuthParams::default(), None);
/// let info = ClientInfo::new(ClientId::Cli, ClientMode::Cli, "1.0.0", "linux");
/// let profile = Profile::operator(info, vec!["operator.read".into()]);
/// let (client, events) = Client::start(target, profile, ClientOptions::default())?;
/// client.wait_connected(Duration::from_secs(10));
/// let status = client.call(Call::new("status", RawJson::empty_object()))?;
/// for event in events {
///     if let ClientEvent::Event(event) = event {
///         println!("{}", event.event);
///     }
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Client {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// A call under way. Dropping it cancels the call.
#[derive(Debug)]
pub struct PendingCall {
    answer: Receiver<Result<RawJson, CallError>>,
    /// Until there is a result.
    ticket: Option<Ticket>,
    shared: Arc<Shared>,
}

impl Client {
    /// Starts to connect in a thread of its own, and gives the receiver of the events.
    ///
    /// # Errors
    /// When the system gives no thread, no wake-up or no random bytes.
    pub fn start(
        target: Target,
        profile: Profile,
        options: ClientOptions,
    ) -> io::Result<(Self, Receiver<ClientEvent>)> {
        let (shared, thread, reader) = worker::start(target, profile, options)?;
        let client = Self {
            shared,
            thread: Some(thread),
        };
        Ok((client, reader))
    }

    /// Makes a call over the present connection and waits for its result.
    ///
    /// # Errors
    /// When it was not sent or has no result. Without a connection it fails at once.
    pub fn call(&self, call: Call) -> Result<RawJson, CallError> {
        self.start_call(call)?.wait()
    }

    /// Sends a call without waiting.
    ///
    /// # Errors
    /// When too many calls wait to be sent, or the client has stopped.
    pub fn start_call(&self, call: Call) -> Result<PendingCall, CallError> {
        let (sender, answer) = sync_channel(1);
        let ticket = self.push_call(
            call,
            // The caller may have gone.
            Box::new(move |outcome| drop(sender.try_send(outcome))),
        )?;
        Ok(PendingCall {
            answer,
            ticket: Some(ticket),
            shared: Arc::clone(&self.shared),
        })
    }

    /// Sends a call without waiting; `then` gets the result in the client's thread, and must not
    /// block. It is dropped when the client stops first.
    ///
    /// # Errors
    /// When too many calls wait to be sent, or the client has stopped.
    pub fn call_then(
        &self,
        call: Call,
        then: impl FnOnce(Result<RawJson, CallError>) + Send + 'static,
    ) -> Result<(), CallError> {
        self.push_call(call, Box::new(then)).map(|_| ())
    }

    fn push_call(&self, call: Call, answer: Answer) -> Result<Ticket, CallError> {
        let mut inbox = self.shared.inbox();
        if inbox.closed {
            return Err(RequestError::NotConnected.into());
        }
        if inbox.commands.len() >= MAX_COMMANDS {
            return Err(RequestError::BufferFull.into());
        }
        inbox.tickets += 1;
        let ticket = Ticket(inbox.tickets);
        inbox
            .commands
            .push_back(Command::Call(call, ticket, answer));
        drop(inbox);
        self.shared.wake();
        Ok(ticket)
    }

    /// Where the client stands.
    pub fn phase(&self) -> Phase {
        *self.shared.phase()
    }

    /// Waits until it is connected. Gives up when it pauses, stops, or the time is over, and gives
    /// the phase that it was in then.
    pub fn wait_connected(&self, at_most: Duration) -> Phase {
        let undecided = |phase: &mut Phase| matches!(phase, Phase::Connecting | Phase::Waiting);
        let (phase, _) = self
            .shared
            .phase_changed
            .wait_timeout_while(self.shared.phase(), at_most, undecided)
            .unwrap_or_else(PoisonError::into_inner);
        *phase
    }

    /// Dials at once, out of a pause or a wait. After it, [`Client::wait_connected`] waits for the
    /// new attempt.
    pub fn resume(&self) {
        let (done, is_done) = sync_channel(1);
        self.shared.push(Command::Resume(done));
        // A client that has stopped drops the command, and that is an answer too.
        let _ = is_done.recv();
    }

    /// Closes the connection in good order and waits for the thread. Calls under way fail.
    pub fn close(mut self) {
        self.finish();
    }

    fn finish(&mut self) {
        self.shared.push(Command::Stop);
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been printed, and there is nothing left to do about it.
            let _ = thread.join();
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.finish();
    }
}

impl PendingCall {
    /// Waits for the result.
    ///
    /// # Errors
    /// When there is none.
    pub fn wait(mut self) -> Result<RawJson, CallError> {
        let outcome = self.answer.recv();
        self.ticket = None;
        outcome.unwrap_or_else(|_| Err(NoAnswer::Ended(Ending::Stopped).into()))
    }

    /// Waits for a while; gives the call back when there is no result yet.
    ///
    /// # Errors
    /// The call itself, to go on waiting or to cancel.
    pub fn wait_timeout(mut self, at_most: Duration) -> Result<Result<RawJson, CallError>, Self> {
        match self.answer.recv_timeout(at_most) {
            Ok(outcome) => {
                self.ticket = None;
                Ok(outcome)
            }
            Err(RecvTimeoutError::Timeout) => Err(self),
            Err(RecvTimeoutError::Disconnected) => {
                self.ticket = None;
                Ok(Err(NoAnswer::Ended(Ending::Stopped).into()))
            }
        }
    }

    /// Forgets the call. The gateway may still carry it out.
    pub fn cancel(self) {}
}

impl Drop for PendingCall {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            self.shared.push(Command::Cancel(ticket));
        }
    }
}
