//! A body for what the Bot API answers.

use std::collections::BTreeSet;
use std::time::Duration;

use clawgate_core::{
    channel::{
        AccountRef, Channel, ChannelJob, ChannelOutput, Errand, FileRef, Outgoing, Part, Place,
        telegram::{Telegram, TelegramSetup, check_api_root},
    },
    job::{HttpHead, JobEnd, JobEvent, JobFailure, JobSpec, Reached},
    policy::UrlPolicy,
    secret::Secret,
    time::Now,
};

use super::script::{lines, start};

const TOKEN: &str = "123456:a-token-that-is-never-told";

/// Each line is the answer to the oldest question: its first byte says how it comes. Nothing panics, an
/// errand ends at most once, and the token is told to the Bot API alone.
pub fn telegram(data: &[u8]) {
    let Ok(root) = check_api_root("http://127.0.0.1:1", UrlPolicy::Strict) else {
        return;
    };
    let setup = TelegramSetup {
        account: AccountRef::new("telegram", "default"),
        token: Secret::new(TOKEN),
        root,
        reply_to: Default::default(),
        media_max_bytes: 4_096,
    };
    let mut world = World {
        now: start(),
        bot: Telegram::new(setup, [7; 32]),
        open: BTreeSet::new(),
        errands: 0,
        ended: BTreeSet::new(),
    };
    world.bot.start(world.now, None);
    world.drain();
    for (operation, answer) in lines(data) {
        world.step(operation, answer);
        world.drain();
        let status = world.bot.status();
        for words in status.problem.iter().chain(&status.name) {
            assert!(!words.contains(TOKEN), "the status tells the token");
        }
    }
    world.bot.stop(world.now);
    world.drain();
    assert!(world.open.is_empty(), "a job goes on after the end");
}

struct World {
    now: Now,
    bot: Telegram,
    open: BTreeSet<ChannelJob>,
    errands: u64,
    ended: BTreeSet<Errand>,
}

impl World {
    fn step(&mut self, operation: u8, answer: &[u8]) {
        match operation {
            b't' => {
                self.now.mono += Duration::from_secs(40);
                self.bot.handle_timeout(self.now);
            }
            b's' => {
                let errand = self.errand();
                let part = Part::Text(String::from_utf8_lossy(answer).into_owned());
                self.bot.send(self.now, errand, outgoing(part));
            }
            b'w' => self.bot.working(self.now, &place(), answer.is_empty()),
            _ => {
                let Some(job) = self.open.first().copied() else {
                    return;
                };
                for event in events(operation, answer) {
                    self.bot.handle_job(self.now, job, event);
                    self.drain();
                }
                self.open.remove(&job);
            }
        }
    }

    fn errand(&mut self) -> Errand {
        self.errands += 1;
        Errand(self.errands)
    }

    fn drain(&mut self) {
        let mut files: Vec<FileRef> = Vec::new();
        while let Some(output) = self.bot.poll_output() {
            match output {
                ChannelOutput::StartJob(job, JobSpec::Http(spec)) => {
                    assert!(!spec.url.to_string().contains(TOKEN), "it is in a URL");
                    assert!(self.open.insert(job), "a job began twice");
                }
                ChannelOutput::StartJob(_, JobSpec::Program(_)) => panic!("a program"),
                ChannelOutput::StopJob(job) => {
                    self.open.remove(&job);
                }
                ChannelOutput::Received { messages, .. } => {
                    for message in messages {
                        assert!(!message.place.chat.is_empty(), "a message of no chat");
                        assert!(!message.sender.id.is_empty(), "a message of nobody");
                        files.extend(message.files);
                    }
                }
                ChannelOutput::Sent(errand, _) => self.end(errand),
                ChannelOutput::Fetched(errand, fetched) => {
                    self.end(errand);
                    if let Ok(file) = fetched {
                        assert!(file.data.len() <= 4_096, "a file is too large");
                    }
                }
                ChannelOutput::Answer(..) => panic!("an answer to nobody"),
                ChannelOutput::Status => {}
            }
        }
        for file in files {
            let errand = self.errand();
            self.bot.fetch(self.now, errand, &file);
            self.drain();
        }
    }

    fn end(&mut self, errand: Errand) {
        assert!(self.ended.insert(errand), "an errand ended twice");
    }
}

/// How an answer comes: whole, refused, or not to its end.
fn events(operation: u8, answer: &[u8]) -> Vec<JobEvent> {
    let head = |status| {
        JobEvent::Head(HttpHead {
            status,
            content_type: None,
            retry_after: None,
        })
    };
    let data = JobEvent::Data(answer.to_vec().into());
    let whole = |status| {
        vec![
            head(status),
            data.clone(),
            JobEvent::Ended(JobEnd::Complete),
        ]
    };
    let failed = |reached| {
        JobEvent::Failed(JobFailure {
            reached,
            message: String::from_utf8_lossy(answer).into_owned(),
        })
    };
    match operation {
        b'r' => whole(400),
        b'u' => whole(401),
        b'c' => whole(409),
        b'f' => whole(429),
        b'e' => whole(502),
        b'n' => vec![failed(Reached::No)],
        b'p' => vec![head(200), data.clone(), failed(Reached::Perhaps)],
        _ => whole(200),
    }
}

fn place() -> Place {
    Place {
        account: AccountRef::new("telegram", "default"),
        chat: "7".to_owned(),
        thread: None,
    }
}

fn outgoing(part: Part) -> Outgoing {
    Outgoing {
        place: place(),
        part,
        reply_to: None,
        silent: false,
        key: "k".to_owned(),
    }
}
