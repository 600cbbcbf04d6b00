//! Changes of policy, from request to kernel: in force when answered, or not at all.

use std::time::Instant;

use nexin_api::v1::{
    ErrorBody, ErrorCode, ExplainQuery, ExplainReply, PolicyApplyReply, PolicyRef, PolicyUpload, SimulateReply,
    SimulateRequest,
};
use nexin_datapath::FlowFilter;
use nexin_verdict::decide;

use crate::agent::{Agent, now};
use crate::core::{Explained, PolicyError, QuestionError, UploadText, applied_reply};
use crate::events::SeenFlow;
use crate::metrics::Counters;
use crate::owner::Owner;
use crate::words::{detail, verdict};

impl Agent {
    pub(crate) async fn apply_documents(&self, uploads: Vec<UploadText>) -> Result<PolicyApplyReply, ErrorBody> {
        let start = Instant::now();
        let done = self.apply_or_roll_back(uploads).await;
        let counters = &self.0.counters;
        Counters::outcome(&counters.policy_changes, done.is_ok());
        if done.is_ok() {
            counters.policy_seconds.0.observe(start.elapsed().as_secs_f64());
        }
        done
    }

    async fn apply_or_roll_back(&self, uploads: Vec<UploadText>) -> Result<PolicyApplyReply, ErrorBody> {
        let owner = self.ready_owner()?;
        // One change at a time: going back must not undo another's change.
        let _alone = self.0.locks.lock("/policies").await;
        let change = move |core: &mut crate::core::Core| {
            let before = core.before();
            core.apply_uploads(uploads, now()).map(|changed| (before, changed))
        };
        let (changed, synced) = owner.change(change).await?;
        let (before, changed) = changed?;
        if synced.complete() {
            return Ok(applied_reply(changed, synced.epoch));
        }
        let (back, _) = owner.change(move |core| core.roll_back(before)).await?;
        back.map_err(crate::error::AgentError::from)?;
        let message = format!(
            "the kernel cannot hold these documents: {}; what was in force before is in force",
            synced.complaint()
        );
        Err(ErrorBody::new(ErrorCode::Exhausted, message)
            .hint("GET /v1/maps shows which table is full; sizes are settings (datapath.*_entries)"))
    }

    pub(crate) async fn delete_document(&self, policy: PolicyRef) -> Result<(), ErrorBody> {
        let _alone = self.0.locks.lock("/policies").await;
        let (done, synced) = self.ready_owner()?.change(move |core| core.delete_document(&policy)).await?;
        Counters::outcome(&self.0.counters.policy_changes, done.is_ok());
        done?;
        match synced.error {
            None => Ok(()),
            Some(error) => {
                let message = format!("the document is gone, but the kernel did not follow yet: {error}");
                Err(ErrorBody::new(ErrorCode::Failed, message)
                    .hint("it is tried again; GET /v1/status says when it is done"))
            }
        }
    }

    pub(crate) async fn explain_question(&self, query: ExplainQuery) -> Result<ExplainReply, ErrorBody> {
        let explained = self.owner()?.ask(move |owner| {
            let explained = owner.core.explain(&query)?;
            Ok::<_, QuestionError>(with_kernel(owner, explained, query.port.protocol.number()))
        });
        Ok(explained.await??)
    }

    pub(crate) async fn simulate_change(&self, request: SimulateRequest) -> Result<SimulateReply, ErrorBody> {
        let recorded = self.0.hub.seen_flows();
        let lost = self.0.hub.lost();
        let lost = lost.drop + lost.verdict + lost.trace;
        let prepared = self.owner()?.ask(move |owner| {
            let running = owner.datapath.flows(&FlowFilter::default()).unwrap_or_default();
            let mut flows: std::collections::HashMap<SeenFlow, (bool, u64)> =
                recorded.into_iter().map(|(flow, seen)| (flow, (false, seen))).collect();
            for flow in running.iter().map(SeenFlow::of_tracked) {
                flows.entry(flow).or_insert((true, 0)).0 = true;
            }
            let flows = flows.into_iter().map(|(flow, (running, seen))| (flow, running, seen)).collect();
            owner.core.simulation(request, flows, lost)
        });
        let simulation = prepared.await??;
        let run = tokio::task::spawn_blocking(move || simulation.run()).await;
        run.map_err(|error| ErrorBody::new(ErrorCode::Failed, format!("the simulation ended early: {error}")))
    }
}

/// Adds what the kernel's own tables say, for local endpoints.
fn with_kernel(owner: &Owner, explained: Explained, protocol: u8) -> ExplainReply {
    let Explained { mut reply, endpoints: [from, to], identities: [source, destination], port } = explained;
    let Ok(tables) = owner.datapath.kernel_policy() else { return reply };
    let audit = owner.core.settings().policy.audit;
    let ask = |endpoint: Option<u16>, egress: bool, peer| {
        let (ingress_policy, egress_policy) = owner.datapath.endpoint_policies(endpoint?)?;
        let policy = if egress { egress_policy } else { ingress_policy };
        // Policy 0: not isolated. A missing entry is what the kernel refuses, too.
        let found = (policy != 0).then(|| decide(&tables, policy, peer, protocol, port).unwrap_or_default());
        let direction = if egress { nexin_model::Direction::Egress } else { nexin_model::Direction::Ingress };
        Some(verdict(owner.core.engine().side_answer(direction, found).decision, audit))
    };
    reply.egress.kernel_verdict = ask(from, true, destination);
    reply.ingress.kernel_verdict = ask(to, false, source);
    reply
}

pub(crate) fn upload_text(text: String, upload: PolicyUpload) -> UploadText {
    UploadText { text, file: upload.file.unwrap_or_else(|| "(request)".to_owned()), namespace: upload.namespace }
}

impl From<PolicyError> for ErrorBody {
    fn from(error: PolicyError) -> Self {
        let message = error.to_string();
        match error {
            PolicyError::Invalid(diagnostics) => Self::new(ErrorCode::InvalidPolicy, message)
                .hint("mend the places in `details`; `nexin policy validate` finds them without an agent")
                .details(diagnostics.into_iter().map(detail).collect()),
            PolicyError::NotEnforceable(diagnostics) => Self::new(ErrorCode::NotEnforceable, message)
                .hint("`details` names the places; the documents can be validated and simulated, not applied")
                .details(diagnostics.into_iter().map(detail).collect()),
            PolicyError::Empty(_) => Self::new(ErrorCode::BadRequest, message),
            PolicyError::Twice { .. } => Self::new(ErrorCode::BadRequest, message),
            PolicyError::Watched { .. } => Self::new(ErrorCode::Conflict, message).hint("change or remove the file"),
            PolicyError::Taken { .. } => Self::new(ErrorCode::Conflict, message).hint("give one of them another name"),
            PolicyError::NoSuchDocument(_) => {
                Self::new(ErrorCode::NotFound, message).hint("GET /v1/policies lists them")
            }
            PolicyError::State(_) => {
                Self::new(ErrorCode::Failed, message).hint("is the disk of agent.state_dir full or read-only?")
            }
        }
    }
}

impl From<QuestionError> for ErrorBody {
    fn from(error: QuestionError) -> Self {
        match error {
            QuestionError::NoPeer(_) => Self::new(ErrorCode::NotFound, error.to_string())
                .hint("GET /v1/endpoints and /v1/identities list what there is"),
            QuestionError::Labels(error) => error.into(),
            QuestionError::Policy(error) => error.into(),
        }
    }
}
