//! Which socket a client takes for the gateway's own, the way in of last resort. Nothing is
//! presented there, so what counts is that no other user can have put it there.

use thiserror::Error;

/// What the system says about the file of a socket, without following a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketFacts {
    /// Whether it is a socket.
    pub is_socket: bool,
    /// The user who owns it.
    pub owner: u32,
    /// The user who asks.
    pub user: u32,
}

/// Why a socket is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SocketFault {
    /// It is something else.
    #[error("it is no socket")]
    NotASocket,
    /// It belongs to somebody else.
    #[error("it belongs to user {0}, who is neither you nor root")]
    Owner(u32),
}

/// Judges a socket: it has to belong to whoever asks, or to root.
///
/// ```
/// use clawgate_core::policy::{SocketFacts, SocketFault, check_owner_socket};
///
/// let facts = SocketFacts { is_socket: true, owner: 1000, user: 1000 };
/// assert_eq!(check_owner_socket(facts), Ok(()));
/// assert_eq!(
///     check_owner_socket(SocketFacts { owner: 1001, ..facts }),
///     Err(SocketFault::Owner(1001))
/// );
/// ```
///
/// # Errors
/// [`SocketFault`].
pub const fn check_owner_socket(facts: SocketFacts) -> Result<(), SocketFault> {
    if !facts.is_socket {
        Err(SocketFault::NotASocket)
    } else if facts.owner != facts.user && facts.owner != 0 {
        Err(SocketFault::Owner(facts.owner))
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_own_user_and_root_are_believed() {
        let judge = |is_socket, owner, user| {
            check_owner_socket(SocketFacts {
                is_socket,
                owner,
                user,
            })
        };
        assert_eq!(judge(true, 1000, 1000), Ok(()));
        assert_eq!(judge(true, 0, 1000), Ok(()));
        assert_eq!(judge(true, 1000, 0), Err(SocketFault::Owner(1000)));
        assert_eq!(judge(true, 1001, 1000), Err(SocketFault::Owner(1001)));
        assert_eq!(judge(false, 1000, 1000), Err(SocketFault::NotASocket));
    }
}
