//! The answer to a query as a stream: what the past holds, then what comes, as fast as it is read.

use std::collections::VecDeque;
use std::sync::Arc;

use futures_util::stream::{self, Stream};
use nexin_flows::Event;
use nexin_flows::query::{Progress, Query, Selection};
use nexin_flows::record::Node;

use super::channel::Channel;

/// Says which events are wanted and what they become.
pub(crate) trait Shape: Send + 'static {
    type Item: Send + 'static;
    /// Never asked of lost events, which are always told.
    fn wants(&self, event: &Event) -> bool;
    fn shape(&mut self, event: &Event) -> Option<Self::Item>;
}

struct Answers<S: Shape> {
    selection: Selection,
    shape: S,
    growth: tokio::sync::watch::Receiver<()>,
    ready: VecDeque<S::Item>,
    /// Events that may still come, lost ones not counted.
    most: u64,
    done: bool,
}

/// Ends when the query is answered, which is never for one that follows, or after `most` events.
pub(crate) fn answers<S: Shape>(
    channel: &Channel,
    query: Query,
    node: Arc<Node>,
    most: u64,
    shape: S,
) -> impl Stream<Item = S::Item> + Send + 'static {
    // Before the look at the past, so that no growth falls between.
    let growth = channel.growth();
    let selection = Selection::start(channel.ring().clone(), query, node, &|event| shape.wants(event));
    let answers = Answers { selection, shape, growth, ready: VecDeque::new(), most, done: most == 0 };
    stream::unfold(answers, |mut answers| async move {
        let item = answers.next().await?;
        Some((item, answers))
    })
}

impl<S: Shape> Answers<S> {
    async fn next(&mut self) -> Option<S::Item> {
        loop {
            if let Some(item) = self.ready.pop_front() {
                return Some(item);
            }
            if self.done {
                return None;
            }
            match self.step() {
                // A long look through the past must not keep a worker to itself.
                Progress::More => tokio::task::yield_now().await,
                Progress::Done => self.done = true,
                Progress::Waiting => self.growth.changed().await.ok()?,
            }
        }
    }

    fn step(&mut self) -> Progress {
        self.growth.mark_unchanged();
        let mut wanted = Vec::new();
        let progress = self.selection.step(&|event| self.shape.wants(event), |event| wanted.push(event.clone()));
        for event in &wanted {
            if !matches!(event, Event::Lost(_)) {
                if self.most == 0 {
                    break;
                }
                self.most -= 1;
            }
            self.ready.extend(self.shape.shape(event));
        }
        if self.most == 0 {
            return Progress::Done;
        }
        progress
    }
}
