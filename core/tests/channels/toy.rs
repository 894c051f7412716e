//! A channel of the simplest kind: it polls by one job and sends by others.

use std::{collections::BTreeMap, collections::VecDeque, time::Duration, time::Instant};

use bytes::Bytes;
use clawgate_core::{
    channel::{
        AccessPolicy, Account, AccountRef, Channel, ChannelJob, ChannelOutput, ChannelStatus,
        Channels, ChatKind, DmPolicy, Errand, FileBytes, FileRef, GroupPolicy, Incoming, Link,
        Outgoing, Part, Place, Revision, Room, SendOutcome, Sender,
    },
    job::{HttpJob, HttpMethod, JobEvent, JobSpec, Reached},
    policy::{Endpoint, UrlPolicy},
    time::{Now, WallTime},
};
use serde_json::{Value, json};

use crate::service::Service;

pub const CHANNEL: &str = "toy";

pub fn account() -> AccountRef {
    AccountRef::new(CHANNEL, "default")
}

pub fn place(chat: &str) -> Place {
    Place {
        account: account(),
        chat: chat.into(),
        thread: None,
    }
}

pub fn channels(service: &Service, change: impl FnOnce(&mut Account)) -> Channels {
    let mut account_of = Account {
        label: "Toy".into(),
        enabled: true,
        access: AccessPolicy {
            dm: DmPolicy::Open,
            group: GroupPolicy::Open,
            ..AccessPolicy::default()
        },
        lock: None,
        digest: [1; 32],
        machine: Ok(Box::new(Toy::new(service.clone()))),
    };
    change(&mut account_of);
    Channels::default().with(account(), account_of)
}

#[derive(Debug)]
pub struct Toy {
    service: Service,
    outputs: VecDeque<ChannelOutput>,
    cursor: usize,
    poll: Option<ChannelJob>,
    sends: BTreeMap<ChannelJob, Errand>,
    again: Option<Instant>,
    on: bool,
    blocked: bool,
    room: Room,
    last: u64,
}

impl Toy {
    pub fn new(service: Service) -> Self {
        Self {
            service,
            outputs: VecDeque::new(),
            cursor: 0,
            poll: None,
            sends: BTreeMap::new(),
            again: None,
            on: false,
            blocked: false,
            room: Room::Free,
            last: 0,
        }
    }

    fn job(&mut self, what: &Value) -> ChannelJob {
        self.last += 1;
        let job = ChannelJob(self.last);
        let spec = HttpJob {
            method: HttpMethod::Post,
            url: Endpoint::parse("http://127.0.0.1:9/", UrlPolicy::Strict).unwrap(),
            secret_path: None,
            headers: Vec::new(),
            body: Bytes::from(what.to_string()),
            connect: Duration::from_secs(1),
            idle: Duration::from_secs(60),
            max_body: 1 << 20,
        };
        self.outputs
            .push_back(ChannelOutput::StartJob(job, JobSpec::Http(spec)));
        job
    }

    fn poll_again(&mut self) {
        if self.on && self.poll.is_none() && self.again.is_none() && self.room == Room::Free {
            let job = self.job(&json!({ "poll": self.cursor }));
            self.poll = Some(job);
        }
    }

    fn polled(&mut self, event: JobEvent, now: Now) {
        match event {
            JobEvent::Data(data) => {
                let upto: usize = std::str::from_utf8(&data).unwrap().parse().unwrap();
                let written = self.service.state().written.clone();
                let messages = written[self.cursor..upto]
                    .iter()
                    .enumerate()
                    .map(|(index, written)| {
                        let number = written.edit_of.unwrap_or(self.cursor + index);
                        Incoming {
                            id: number.to_string(),
                            place: place(&written.chat),
                            kind: if written.group {
                                ChatKind::Group
                            } else {
                                ChatKind::Direct
                            },
                            title: None,
                            sender: Sender {
                                id: written.sender.clone(),
                                name: None,
                                username: None,
                            },
                            text: written.text.clone(),
                            files: (0..written.files)
                                .map(|index| FileRef {
                                    id: index.to_string(),
                                    name: None,
                                    mime_type: "image/png".into(),
                                    size: None,
                                })
                                .collect(),
                            quoted: None,
                            addressed: written.addressed,
                            revision: if written.edit_of.is_some() {
                                Revision::Edit
                            } else {
                                Revision::New
                            },
                            at: WallTime(1),
                        }
                    })
                    .collect();
                self.cursor = upto;
                self.outputs.push_back(ChannelOutput::Received {
                    cursor: Some(upto.to_string()),
                    messages,
                });
            }
            JobEvent::Ended(_) => {
                self.poll = None;
                self.poll_again();
            }
            JobEvent::Failed(_) => {
                self.poll = None;
                self.blocked = self.service.state().locked_out;
                if self.blocked {
                    self.outputs.push_back(ChannelOutput::Status);
                } else {
                    self.again = Some(now.mono + Duration::from_secs(1));
                }
            }
            JobEvent::Head(_) => {}
        }
    }
}

impl Channel for Toy {
    fn start(&mut self, _: Now, cursor: Option<&str>) {
        self.on = true;
        self.blocked = false;
        self.again = None;
        self.cursor = cursor.map_or(0, |cursor| cursor.parse().unwrap());
        if let Some(job) = self.poll.take() {
            self.outputs.push_back(ChannelOutput::StopJob(job));
        }
        self.poll_again();
    }

    fn stop(&mut self, _: Now) {
        self.on = false;
        for job in self.poll.take().into_iter().chain(
            std::mem::take(&mut self.sends)
                .into_keys()
                .collect::<Vec<_>>(),
        ) {
            self.outputs.push_back(ChannelOutput::StopJob(job));
        }
    }

    fn handle_job(&mut self, now: Now, job: ChannelJob, event: JobEvent) {
        if self.poll == Some(job) {
            return self.polled(event, now);
        }
        let Some(errand) = self.sends.get(&job).copied() else {
            return;
        };
        let outcome = match event {
            JobEvent::Head(_) | JobEvent::Data(_) => return,
            JobEvent::Ended(_) => SendOutcome::Sent(Some("remote".into())),
            JobEvent::Failed(failure) => match failure.reached {
                Reached::No => SendOutcome::NotSent {
                    why: failure.message,
                    wait: None,
                },
                Reached::Perhaps => SendOutcome::Uncertain(failure.message),
            },
        };
        self.sends.remove(&job);
        self.outputs.push_back(ChannelOutput::Sent(errand, outcome));
    }

    fn send(&mut self, _: Now, errand: Errand, outgoing: Outgoing) {
        let text = match &outgoing.part {
            Part::Text(text) => text.clone(),
            Part::File(file) => format!("file:{}:{}", file.mime_type, file.data.len()),
        };
        let job = self.job(&json!({
            "send": text,
            "chat": outgoing.place.chat,
            "key": outgoing.key,
        }));
        self.sends.insert(job, errand);
    }

    fn fetch(&mut self, _: Now, errand: Errand, file: &FileRef) {
        let file = FileBytes {
            name: None,
            mime_type: file.mime_type.clone(),
            data: Bytes::from_static(b"picture"),
        };
        self.outputs
            .push_back(ChannelOutput::Fetched(errand, Ok(file)));
    }

    fn working(&mut self, _: Now, place: &Place, works: bool) {
        self.service
            .state()
            .typing
            .insert(place.chat.clone(), works);
    }

    fn room(&mut self, _: Now, room: Room) {
        self.room = room;
        self.poll_again();
    }

    fn split(&self, text: &str) -> Vec<String> {
        text.split('|').map(str::to_owned).collect()
    }

    fn handle_timeout(&mut self, now: Now) {
        if self.again.is_some_and(|at| at <= now.mono) {
            self.again = None;
            self.poll_again();
        }
    }

    fn poll_output(&mut self) -> Option<ChannelOutput> {
        self.outputs.pop_front()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.again.filter(|_| self.on)
    }

    fn status(&self) -> ChannelStatus {
        ChannelStatus {
            link: if self.on && self.blocked {
                Link::Blocked
            } else if self.on {
                Link::Connected
            } else {
                Link::Stopped
            },
            ..ChannelStatus::default()
        }
    }
}
