//! The usual life: events in, until the connection or the trust is gone.

use super::servers::Followed;
use super::{Cause, Ended, GroupTail, TailState, ended};

impl GroupTail {
    /// Follows, over lost connections and changes of servers, until every shard must start anew.
    pub(super) async fn keep_following(&self, followed: &mut Followed) -> (Cause, String) {
        self.note_following(&followed.server);
        loop {
            match self.follow(followed).await {
                Ended::Anew(cause, why) => return (cause, why),
                Ended::Disconnected(why) => {
                    tracing::warn!(host_group = %self.id, why, "the log's connection is lost");
                    self.metrics.following(false, followed.server.region.is_some());
                    self.health.note(|facts| {
                        facts.state = TailState::Lost;
                        facts.error = Some(why);
                    });
                }
                Ended::Elsewhere => {}
            }
            if let Some((cause, why)) = self.go_on(followed).await {
                return (cause, why);
            }
        }
    }

    async fn follow(&self, followed: &mut Followed) -> Ended {
        let Followed { server, tail, feed } = followed;
        let (server, feed) = (&*server, &*feed);
        let watch = std::pin::pin!(self.watch(server));
        let confirm = std::pin::pin!(self.confirm(server, feed));
        let receive = std::pin::pin!(self.receive(feed));
        let (mut watch, mut confirm, mut receive) = (watch, confirm, receive);
        loop {
            let events = tokio::select! {
                biased;
                ended = &mut watch => return ended,
                never = &mut confirm => match never {},
                never = &mut receive => match never {},
                events = tail.next() => match events {
                    Ok(events) => events,
                    Err(error) => return ended(error),
                },
            };
            let visible = !self.is_primary(server);
            for event in events {
                self.take(feed, event, visible);
            }
            let position = tail.position();
            feed.moved(position.clone());
            self.health.moved(position);
        }
    }
}
