//! Codes for people whom nobody knows: they are told one, and somebody who may lets them in by it.

use std::time::Duration;

use super::{ChannelBook, SenderRecord, Standing, outbound::NewMessage, words};
use crate::{
    channel::{AccountRef, ChatKind, Incoming, Place, Sender},
    gateway::Gateway,
    rng::Rng,
    secret::Secret,
    time::{Now, WallTime, millis},
};

/// The life of a code.
pub(in crate::gateway) const CODE_LIFE: Duration = Duration::from_secs(3_600);

/// People who may ask at once at one account. Others hear nothing until one of them has an answer.
pub(in crate::gateway) const MAX_ASKING: usize = 3;

/// Senders of all accounts that are kept.
const MAX_SENDERS: usize = 10_000;

/// Letters of a code: none that looks like another.
const LETTERS: [char; 32] = [
    'A', 'B', 'C', 'D', 'E', 'F', 'G', 'H', 'J', 'K', 'L', 'M', 'N', 'P', 'Q', 'R', 'S', 'T', 'U',
    'V', 'W', 'X', 'Y', 'Z', '2', '3', '4', '5', '6', '7', '8', '9',
];

/// How many of them.
const CODE_LETTERS: usize = 8;

/// What became of a code.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::gateway) struct PairAnswer {
    pub(in crate::gateway) id: String,
    pub(in crate::gateway) name: Option<String>,
    pub(in crate::gateway) account: AccountRef,
    /// Whether they may let others in.
    pub(in crate::gateway) owner: bool,
    /// Where they asked.
    pub(in crate::gateway) place: Place,
}

fn new_code(rng: &mut Rng) -> String {
    let mut bits = rng.u64();
    let mut code = String::with_capacity(CODE_LETTERS);
    for _ in 0..CODE_LETTERS {
        let at = usize::try_from(bits % 32).unwrap_or_default();
        code.extend(LETTERS.get(at));
        bits /= 32;
    }
    code
}

impl ChannelBook {
    pub(super) fn is_paired(&self, account: &AccountRef, sender: &Sender) -> bool {
        self.sender(account, &sender.id)
            .is_some_and(|record| matches!(record.standing, Standing::Paired { .. }))
    }

    fn sender(&self, account: &AccountRef, id: &str) -> Option<&SenderRecord> {
        self.senders.get(&SenderRecord::key_of(account, id))
    }

    /// Those who wait for an answer.
    pub(in crate::gateway) fn asking(&self, wall: WallTime) -> impl Iterator<Item = &SenderRecord> {
        self.senders.values().filter(move |record| {
            matches!(record.standing, Standing::Asking { ends_at, .. } if wall < ends_at)
        })
    }

    pub(in crate::gateway) fn has_owner(&self, account: &AccountRef) -> bool {
        self.senders.values().any(|record| {
            record.account == *account
                && matches!(record.standing, Standing::Paired { owner: true, .. })
        })
    }

    /// Who was told this code, if its time is not over. Everything is compared, whatever differs first.
    fn by_code(&self, wall: WallTime, account: &AccountRef, code: &str) -> Option<SenderRecord> {
        let code = code.trim().to_uppercase();
        self.asking(wall)
            .filter(|record| record.account == *account)
            .filter(|record| match &record.standing {
                Standing::Asking { code: theirs, .. } => Secret::new(theirs.as_str()).ct_eq(&code),
                Standing::Paired { .. } => false,
            })
            .last()
            .cloned()
    }
}

impl Gateway {
    /// Somebody whom nobody knows wrote: they are told a code, once in its life.
    pub(super) fn ask_to_pair(&mut self, now: Now, message: &Incoming) {
        let place = &message.place;
        let asking = self.channels.asking(now.wall);
        let known: Vec<&SenderRecord> = asking
            .filter(|record| record.account == place.account)
            .collect();
        let asks = |record: &&SenderRecord| record.sender.id == message.sender.id;
        if known.iter().any(asks)
            || known.len() >= MAX_ASKING
            || self.channels.senders().count() >= MAX_SENDERS
        {
            return;
        }
        let ended: Vec<String> = self
            .channels
            .senders()
            .filter(|record| {
                matches!(record.standing, Standing::Asking { ends_at, .. } if ends_at <= now.wall)
            })
            .map(|record| SenderRecord::key_of(&record.account, &record.sender.id))
            .collect();
        for key in ended {
            self.channels.senders.remove(&mut self.out.journal, &key);
        }
        let code = new_code(&mut self.rng);
        let text = words::pairing(&code, &message.sender.id, &place.account.channel);
        let standing = Standing::Asking {
            code,
            asked_at: now.wall,
            ends_at: WallTime(now.wall.0.saturating_add(millis(CODE_LIFE))),
        };
        let record = SenderRecord::new(place, &message.sender, standing);
        self.channels.senders.put(&mut self.out.journal, record);
        self.say(now, NewMessage::text(place, ChatKind::Direct, text));
    }

    /// Whether somebody may let others in: who is named in the config, and the paired owner.
    pub(super) fn is_owner(&self, account: &AccountRef, sender: &Sender) -> bool {
        let by_config = self
            .accounts
            .all
            .get(account)
            .is_some_and(|running| running.account.access.allow_from.contains(&sender.id));
        let paired = self.channels.sender(account, &sender.id);
        by_config
            || paired.is_some_and(|record| {
                matches!(record.standing, Standing::Paired { owner: true, .. })
            })
    }

    /// Lets somebody in by their code. As the owner of the account they may let others in; an account
    /// has one such owner at most.
    pub(in crate::gateway) fn approve_sender(
        &mut self,
        now: Now,
        account: &AccountRef,
        code: &str,
        as_owner: bool,
    ) -> Option<PairAnswer> {
        let mut record = self.channels.by_code(now.wall, account, code)?;
        let owner = as_owner && !self.channels.has_owner(account);
        record.standing = Standing::Paired {
            at: now.wall,
            owner,
        };
        let answer = PairAnswer {
            id: record.sender.id.clone(),
            name: record.sender.name.clone(),
            account: account.clone(),
            owner,
            place: record.place.clone(),
        };
        self.channels.senders.put(&mut self.out.journal, record);
        Some(answer)
    }

    /// Tells somebody that they were let in.
    pub(in crate::gateway) fn welcome_sender(&mut self, now: Now, answer: &PairAnswer) {
        let text = words::APPROVED.into();
        self.say(now, NewMessage::text(&answer.place, ChatKind::Direct, text));
    }

    /// Forgets a code. Nobody is told.
    pub(in crate::gateway) fn reject_sender(
        &mut self,
        now: Now,
        account: &AccountRef,
        code: &str,
    ) -> Option<PairAnswer> {
        let record = self.channels.by_code(now.wall, account, code)?;
        let key = SenderRecord::key_of(account, &record.sender.id);
        self.channels.senders.remove(&mut self.out.journal, &key);
        Some(PairAnswer {
            id: record.sender.id,
            name: record.sender.name,
            account: account.clone(),
            owner: false,
            place: record.place,
        })
    }

    /// Takes back that somebody may write. Gives whether they might.
    pub(in crate::gateway) fn forget_sender(&mut self, account: &AccountRef, id: &str) -> bool {
        let key = SenderRecord::key_of(account, id);
        self.channels
            .senders
            .remove(&mut self.out.journal, &key)
            .is_some()
    }
}
