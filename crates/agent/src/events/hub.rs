//! The monitor: flows in the words of our own API, from the same ring as Hubble's.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::stream::Stream;
use nexin_api::v1::{LostCounts, LostEvents, MonitorFilter, MonitorRecord};
use nexin_flows::Event;
use nexin_flows::query::Query;
use nexin_hubble::flow::LostEventSource;

use super::monitored::{monitored, time};
use super::recorder::{Recorder, SeenFlow};
use crate::flows::{FlowHook, Flows, Shape, answers};
use crate::settings::EventSettings;

/// See the module. Clones are one hub.
#[derive(Clone)]
pub(crate) struct Hub {
    flows: Flows,
    recorder: Arc<Mutex<Recorder>>,
}

impl Hub {
    pub(crate) fn new(flows: Flows, settings: &EventSettings) -> Self {
        Self { flows, recorder: Arc::new(Mutex::new(Recorder::new(settings.flows as usize))) }
    }

    pub(crate) fn lost(&self) -> LostCounts {
        self.flows.lost()
    }

    pub(crate) fn lost_by_clients(&self) -> u64 {
        self.flows.lost_by_clients()
    }

    pub(crate) fn listeners(&self) -> usize {
        self.flows.channel().followers()
    }

    pub(crate) fn seen_flows(&self) -> Vec<(SeenFlow, u64)> {
        self.recorder().flows().collect()
    }

    /// What counts distinct flows.
    pub(crate) fn hook(&self) -> Box<dyn FlowHook> {
        Box::new(Recording(self.recorder.clone()))
    }

    /// Recorded events first, when the filter asks for them, then new ones as they come.
    pub(crate) fn listen(&self, filter: MonitorFilter) -> impl Stream<Item = MonitorRecord> + Send + 'static {
        let follow = !filter.no_follow;
        let nothing = filter.last == Some(0) && filter.no_follow;
        let most = if nothing { 0 } else { filter.limit.unwrap_or(u64::MAX) };
        let query = Query { number: filter.last.unwrap_or(0), follow, ..Query::default() };
        let shape = MonitorShape { flows: self.flows.clone(), filter };
        answers(self.flows.channel(), query, self.flows.node(), most, shape)
    }

    fn recorder(&self) -> MutexGuard<'_, Recorder> {
        self.recorder.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Recording(Arc<Mutex<Recorder>>);

impl FlowHook for Recording {
    fn events(&mut self, events: &[Event]) {
        let mut recorder = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        events.iter().filter_map(Event::as_flow).for_each(|record| recorder.record(record));
    }
}

struct MonitorShape {
    flows: Flows,
    filter: MonitorFilter,
}

impl Shape for MonitorShape {
    type Item = MonitorRecord;

    fn wants(&self, event: &Event) -> bool {
        event.as_flow().is_some_and(|record| self.filter.matches(&monitored(record)))
    }

    fn shape(&mut self, event: &Event) -> Option<MonitorRecord> {
        self.flows.count_told(event);
        match event {
            Event::Flow(record) => Some(MonitorRecord::Flow(Box::new(monitored(record)))),
            Event::Lost(lost) => {
                let count = lost.what.num_events_lost;
                let own = lost.what.source == LostEventSource::HubbleRingBuffer as i32;
                let (kernel, client) = if own { (0, count) } else { (count, 0) };
                Some(MonitorRecord::Lost(LostEvents { time: time(lost.time_ns), kernel, client }))
            }
            Event::Agent(_) | Event::Debug(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt as _;
    use std::pin::pin;

    use super::super::monitored::tests::{event, record};
    use super::*;
    use crate::settings::Settings;

    fn hub(capacity: u32) -> (Hub, Flows) {
        let mut settings = Settings::default();
        settings.hubble.buffer_capacity = capacity;
        settings.events.flows = 2;
        let flows = Flows::new(&settings);
        (Hub::new(flows.clone(), &settings.events), flows)
    }

    fn flows(ports: std::ops::RangeInclusive<u16>) -> Vec<Event> {
        let of = |port| nexin_abi::Event { destination_port: nexin_abi::Be16::new(port), ..event() };
        ports.map(|port| Event::Flow(record(&of(port)))).collect()
    }

    fn ports(records: &[MonitorRecord]) -> Vec<u16> {
        let port = |record: &MonitorRecord| match record {
            MonitorRecord::Flow(flow) => flow.destination.port,
            MonitorRecord::Lost(lost) => panic!("{lost:?}"),
        };
        records.iter().map(port).collect()
    }

    #[tokio::test]
    async fn the_recorded_past_is_bounded_filtered_and_ends() {
        let (hub, all) = hub(3);
        let mut hook = hub.hook();
        hook.events(&all.append(flows(1..=5)));
        let past = MonitorFilter { no_follow: true, ..MonitorFilter::default() };
        assert_eq!(ports(&hub.listen(past.clone()).collect::<Vec<_>>().await), [3, 4, 5]);
        let last = MonitorFilter { last: Some(2), port: vec!["3-4".parse().unwrap()], ..past };
        assert_eq!(ports(&hub.listen(last).collect::<Vec<_>>().await), [3, 4]);
        let seen: std::collections::BTreeSet<u16> = hub.seen_flows().iter().map(|(flow, _)| flow.port.port).collect();
        assert_eq!(seen, [4, 5].into());
    }

    #[tokio::test]
    async fn a_slow_client_is_told_what_it_lost() {
        let (hub, all) = hub(3);
        let mut listener = pin!(hub.listen(MonitorFilter { limit: Some(3), ..MonitorFilter::default() }));
        all.append(flows(1..=10));
        let Some(MonitorRecord::Lost(lost)) = listener.next().await else { panic!("nothing was told") };
        assert_eq!((lost.kernel, lost.client), (0, 7));
        assert_eq!(ports(&listener.collect::<Vec<_>>().await), [8, 9, 10]);
        assert_eq!(hub.lost_by_clients(), 7);
    }

    #[tokio::test]
    async fn the_kernels_losses_are_told() {
        let (hub, all) = hub(7);
        let mut listener = pin!(hub.listen(MonitorFilter::default()));
        all.append(vec![Event::lost(&all.node(), LostEventSource::PerfEventRingBuffer, 5, 1, 2)]);
        let Some(MonitorRecord::Lost(lost)) = listener.next().await else { panic!("nothing was told") };
        assert_eq!((lost.kernel, lost.client), (5, 0));
        assert_eq!(hub.lost_by_clients(), 0);
    }
}
