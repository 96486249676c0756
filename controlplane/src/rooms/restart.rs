//! PATCH: trickle ICE and ICE restarts (RFC 9725 §4.3).

use weever_proto::Command;

use super::api::{Effect, Refused, Reply, SessionKey};
use super::{Rooms, command, unknown_session};
use crate::sdp::{Fragment, SdpError};

/// Whether an `If-Match` names the session's ETag or any (RFC 9110 §13.1.1). RFC 9725 §4.3.3 writes `"*"` in its example, and
/// so do clients.
fn names(if_match: &str, etag: &str) -> bool {
    let mut tags = if_match.split(',').map(str::trim);
    tags.any(|tag| tag == "*" || tag == "\"*\"" || tag == etag)
}

impl Rooms {
    pub(super) fn trickle(
        &mut self,
        key: SessionKey,
        if_match: Option<&str>,
        fragment: Result<Fragment, SdpError>,
        effects: &mut Vec<Effect>,
    ) -> Reply {
        let Some(id) = self.keys.get(&key).copied() else {
            return unknown_session();
        };
        match self.apply_fragment(id, if_match, fragment, effects) {
            Ok(reply) => reply,
            Err(refused) => Reply::Refused(refused),
        }
    }

    fn apply_fragment(
        &mut self,
        id: weever_proto::SessionId,
        if_match: Option<&str>,
        fragment: Result<Fragment, SdpError>,
        effects: &mut Vec<Effect>,
    ) -> Result<Reply, Refused> {
        let fragment = fragment?;
        let Some(session) = self.sessions.get(&id) else {
            return Ok(unknown_session());
        };
        let remote = session.state.remote();
        let is_same = fragment.ice.as_ref().is_some_and(|ice| ice.ufrag == remote.ufrag);
        match if_match {
            Some(tags) if names(tags, &session.state.etag()) => {}
            Some(_) => {
                return Err(Refused::new(
                    412,
                    "If-Match names an ETag that is not, or no longer, this session's",
                ));
            }
            // Deployed clients send none; the fragment says which ICE session it means.
            None if is_same => {}
            None => {
                return Err(Refused::new(
                    428,
                    "If-Match is missing, and the fragment's ice-ufrag is not the session's",
                ));
            }
        }
        // Candidates are not needed: a lite agent learns addresses from checks.
        let Some(ice) = fragment.ice.filter(|ice| *ice != remote) else {
            return Ok(Reply::Trickled);
        };
        if ice.ufrag == remote.ufrag {
            return Err(Refused::new(
                400,
                "bad SDP: a=ice-pwd changed but a=ice-ufrag did not",
            ));
        }
        let local = self.credentials();
        let Some(session) = self.sessions.get(&id) else {
            return Ok(unknown_session());
        };
        let shard = self
            .shards
            .get(&session.shard)
            .filter(|shard| shard.is_reachable());
        let candidates = shard
            .and_then(|shard| shard.candidates(session.worker))
            .map(<[_]>::to_vec);
        let Some(candidates) = candidates else {
            return Err(Refused::later(
                "the data plane is away; the session goes on",
                std::time::Duration::from_secs(1),
            ));
        };
        let Some(session) = self.sessions.get_mut(&id) else {
            return Ok(unknown_session());
        };
        session.state.restart(local.clone(), ice.clone());
        let (media, mid) = &session.state.first;
        let fragment = Fragment::restarted(&local, &candidates, media, mid);
        let etag = session.state.etag();
        let (shard, state) = (session.shard, session.state.encode());
        command(
            shard,
            Command::RestartIce {
                session: id,
                local,
                remote: ice,
            },
            effects,
        );
        command(shard, Command::SetState { session: id, state }, effects);
        Ok(Reply::Restarted { fragment, etag })
    }
}
