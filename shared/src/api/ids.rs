//! Ids of what the service keeps: UUIDs (version 7), written like a [`MatchId`](crate::sim::units::MatchId).
//!
//! In and out: 32 hex digits with dashes, in text and JSON.
//! *Invariant:* an id of one kind is never taken for one of another.
//! Start reading at [`ids`].

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::sim::units::{MatchId, NotAMatchId};

/// The text is not an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an id: expected 32 hex digits, dashes allowed")]
pub struct NotAnId;

/// Declares kinds of ids.
macro_rules! ids {
    ($($(#[$help:meta])+ $name:ident;)+) => {$(
        $(#[$help])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        #[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(value_type = String, format = "uuid"))]
        pub struct $name(pub u128);

        impl $name {
            /// As databases keep it.
            pub fn bytes(self) -> [u8; 16] {
                self.0.to_be_bytes()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                MatchId(self.0).fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = NotAnId;

            fn from_str(text: &str) -> Result<Self, NotAnId> {
                text.parse().map(|MatchId(id)| $name(id)).map_err(|NotAMatchId| NotAnId)
            }
        }

        impl TryFrom<String> for $name {
            type Error = NotAnId;

            fn try_from(text: String) -> Result<Self, NotAnId> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.to_string()
            }
        }
    )+};
}

ids! {
    /// A person.
    AccountId;
    /// One log-in of a person: everything that was refreshed from it belongs to it.
    SessionId;
    /// People gathering.
    LobbyId;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Broken by an id that is written as a number, which browsers would round.
    #[test]
    fn ids_are_text_with_dashes_and_nothing_else_is_taken() {
        let id = AccountId(0x0192_f00d_aaaa_7bbb_8ccc_dddd_eeee_ffff);
        assert_eq!(String::from(id), "0192f00d-aaaa-7bbb-8ccc-ddddeeeeffff");
        assert_eq!("0192f00daaaa7bbb8cccddddeeeeffff".parse(), Ok(id));
        assert_eq!("7".parse::<LobbyId>(), Err(NotAnId));
    }
}
