use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use nexin_api::v1::{EndpointCreate, EndpointState, Enforcement, Labels, LabelsUpdate, PolicyRef, Timestamp};
use nexin_model::Identity;
use nexin_netlink::Mac;
use nexin_runtime::settings::{Environment, Sources};

use super::*;
use crate::flows::SharedDirectory;

fn open(dir: &Path, flags: &[(&str, &str)]) -> Core {
    let flags = [("ipam.ipv4_pool", "10.1.0.0/29"), ("ipam.ipv6_pool", "off")].iter().chain(flags);
    let flags = flags.map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let loaded = Settings::load(&Sources { file: None, environment: Environment::default(), flags }).unwrap();
    let store = Store::open(dir).unwrap();
    let saved = store.load().unwrap();
    Core::new(Arc::new(loaded.settings), store, saved, SharedDirectory::default()).unwrap()
}

fn request(name: &str, labels: Option<&[(&str, &str)]>) -> EndpointCreate {
    EndpointCreate {
        container_id: Some(format!("c-{name}")),
        name: name.into(),
        namespace: "default".into(),
        netns: "/run/netns/x".into(),
        interface: None,
        labels: labels.map(|labels| labels.iter().copied().collect()),
        named_ports: Vec::new(),
        service_account: None,
        ipv4: None,
        ipv6: None,
        mac: None,
        network: None,
        no_source_check: false,
    }
}

fn make(core: &mut Core, name: &str, labels: Option<&[(&str, &str)]>) -> u16 {
    let Reserved::New { id, .. } = core.reserve(request(name, labels), Timestamp(1)).unwrap() else {
        panic!("{name} is there already")
    };
    let wired = Wired { ifindex: 100 + u32::from(id), mac: Mac([2; 6]), gateway_mac: Mac([6; 6]) };
    core.set_wired(id, wired).unwrap();
    id
}

fn upload(text: &str) -> UploadText {
    UploadText { text: text.into(), file: "p.yaml".into(), namespace: None }
}

fn set(text: &str) -> Vec<UploadText> {
    vec![upload(text)]
}

const WEB: &str = "apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: web}
spec:
  endpointSelector: {matchLabels: {app: web}}
  ingress:
  - fromEndpoints: [{matchLabels: {app: client}}]
";

const CIDR: &str = "apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: out}
spec:
  podSelector: {matchLabels: {app: web}}
  policyTypes: [Egress]
  egress:
  - to: [{ipBlock: {cidr: 192.0.2.0/24}}]
";

/// What a datapath would be told, in a form that can be compared: tables by content.
fn picture(core: &Core) -> String {
    let desired = core.desired();
    let policies: BTreeMap<_, _> = desired
        .policies
        .iter()
        .map(|(key, tables)| {
            let known = core.engine().identities().map(|(identity, _)| identity);
            let verdicts: Vec<_> = known
                .flat_map(|identity| [80, 443].map(|port| nexin_verdict::decide(&**tables, 1, identity, 6, port)))
                .collect();
            (*key, verdicts)
        })
        .collect();
    format!(
        "{:?} {:?} {:?} {:?} {policies:?}",
        desired.endpoints, desired.addresses, desired.cidrs, desired.no_masquerade
    )
}

#[test]
fn an_endpoint_gets_an_address_an_identity_and_is_the_same_when_asked_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut core = open(dir.path(), &[]);
    let id = make(&mut core, "web", Some(&[("app", "web")]));
    let view = core.endpoint_view(id).unwrap();
    assert_eq!((view.state, view.ingress), (EndpointState::Ready, Enforcement::Open));
    assert_eq!(view.labels.0["k8s:app"], "web");
    assert_eq!(view.labels.0["k8s:io.kubernetes.pod.namespace"], "default");
    let address: IpAddr = view.ipv4.unwrap().into();
    assert_eq!(core.desired().addresses[&address].identity, Identity(view.identity));
    let again = core.reserve(request("web", None), Timestamp(2)).unwrap();
    assert!(matches!(again, Reserved::Existing { id: same, .. } if same == id));
    let other = EndpointCreate { netns: "/run/netns/other".into(), ..request("web", None) };
    assert!(matches!(core.reserve(other, Timestamp(2)), Err(EndpointError::Differs { .. })));
}

#[test]
fn removal_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut core = open(dir.path(), &[]);
    core.apply_uploads(set(WEB), Timestamp(1)).unwrap();
    let before = picture(&core);
    for round in 0..20 {
        let id = make(&mut core, &format!("web-{round}"), Some(&[("app", "web"), ("round", &round.to_string())]));
        assert!(core.unplug(id).is_some());
        core.remove(id).unwrap();
        assert!(core.unplug(id).is_none());
    }
    assert_eq!(picture(&core), before);
    assert_eq!(core.ipam().pools().map(|pool| pool.used()).sum::<u128>(), 0);
    assert_eq!(std::fs::read_dir(dir.path().join("endpoints")).unwrap().count(), 0);
}

#[test]
fn exhausted_pools_and_bad_requests_take_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut core = open(dir.path(), &[]);
    let mut made = 0;
    let error = loop {
        match core.reserve(request(&format!("w{made}"), None), Timestamp(1)) {
            Ok(_) => made += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, EndpointError::Address(nexin_ipam::Error::Exhausted { .. })), "{error}");
    assert_eq!(core.endpoints().count(), made);
    for bad in [
        EndpointCreate { name: "a b".into(), ..request("x", None) },
        EndpointCreate { container_id: Some("../x".into()), ..request("x", None) },
        EndpointCreate { interface: Some("far-too-long-a-name".into()), ..request("x", None) },
        EndpointCreate { mac: Some("01:00:00:00:00:01".into()), ..request("x", None) },
        request("x", Some(&[("reserved:host", "")])),
    ] {
        assert!(matches!(core.reserve(bad, Timestamp(1)), Err(EndpointError::Invalid { .. })));
    }
    assert_eq!(core.endpoints().count(), made);
}

#[test]
fn unknown_labels_are_init_and_isolated_until_they_are_known() {
    let dir = tempfile::tempdir().unwrap();
    let mut core = open(dir.path(), &[]);
    let id = make(&mut core, "web", None);
    let view = core.endpoint_view(id).unwrap();
    assert_eq!((view.identity, view.state), (Identity::INIT.0, EndpointState::Init));
    assert_eq!((view.ingress, view.egress), (Enforcement::Enforced, Enforcement::Enforced));
    let update = LabelsUpdate { labels: Labels::from_iter([("app", "web")]), ..LabelsUpdate::default() };
    core.relabel(id, update).unwrap();
    let now = core.endpoint_view(id).unwrap();
    assert_eq!((now.ingress, now.ipv4), (Enforcement::Open, view.ipv4));
    assert_ne!(now.identity, Identity::INIT.0);
}

#[test]
fn incremental_changes_equal_a_start_from_what_was_saved() {
    let dir = tempfile::tempdir().unwrap();
    let mut core = open(dir.path(), &[]);
    let web = make(&mut core, "web", Some(&[("app", "web")]));
    core.apply_uploads(set(WEB), Timestamp(1)).unwrap();
    let client = make(&mut core, "client", None);
    core.apply_uploads(set(CIDR), Timestamp(2)).unwrap();
    let update = LabelsUpdate { labels: Labels::from_iter([("app", "client")]), ..LabelsUpdate::default() };
    core.relabel(client, update).unwrap();
    let extra = make(&mut core, "extra", Some(&[("app", "extra")]));
    core.unplug(extra);
    core.remove(extra).unwrap();
    core.set_namespace("default".into(), BTreeMap::from([("team".into(), "red".into())])).unwrap();
    let mut again = open(dir.path(), &[]);
    for id in [web, client] {
        let wired = core.endpoint(id).unwrap().wired.unwrap();
        again.set_wired(id, wired).unwrap();
    }
    assert_eq!(picture(&core), picture(&again));
    assert_eq!(core.desired().cidrs.len(), 1);
    assert!(again.policies().iter().all(|policy| policy.endpoints == [web]), "{:?}", again.policies());
}

#[test]
fn bad_documents_change_nothing_and_roll_back_restores() {
    let dir = tempfile::tempdir().unwrap();
    let mut core = open(dir.path(), &[]);
    make(&mut core, "web", Some(&[("app", "web")]));
    core.apply_uploads(set(WEB), Timestamp(1)).unwrap();
    let before = picture(&core);
    let unknown_field = format!("{WEB}---\n{}", CIDR.replace("podSelector", "podSelektor"));
    assert!(matches!(core.apply_uploads(set(&unknown_field), Timestamp(2)), Err(PolicyError::Invalid(_))));
    let l7 = "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {name: l7}\nspec:\n  endpointSelector: {}\n  \
              ingress:\n  - toPorts:\n    - ports: [{port: \"80\", protocol: TCP}]\n      rules: {http: [{method: GET}]}\n";
    let refused = core.apply_uploads(set(&format!("{CIDR}---\n{l7}")), Timestamp(2));
    let Err(PolicyError::NotEnforceable(places)) = refused else { panic!("{refused:?}") };
    assert!(places.iter().any(|place| place.line > 8 && place.message.contains("not enforced yet")), "{places:?}");
    assert_eq!(picture(&core), before);
    let saved = core.before();
    core.apply_uploads(set(CIDR), Timestamp(3)).unwrap();
    core.apply_uploads(set(&WEB.replace("client", "nobody")), Timestamp(4)).unwrap();
    assert_ne!(picture(&core), before);
    core.roll_back(saved).unwrap();
    assert_eq!(picture(&core), before);
    assert_eq!(open(dir.path(), &[]).policies().len(), 1);
}

#[test]
fn several_files_are_one_change() {
    let dir = tempfile::tempdir().unwrap();
    let mut core = open(dir.path(), &[]);
    make(&mut core, "web", Some(&[("app", "web")]));
    let files = |texts: &[&str]| -> Vec<UploadText> {
        let named = texts.iter().enumerate();
        named.map(|(n, text)| UploadText { file: format!("{n}.yaml"), ..upload(text) }).collect()
    };
    let before = picture(&core);
    let bad = WEB.replace("ingress", "ingres");
    let refused = core.apply_uploads(files(&[CIDR, &bad, &bad]), Timestamp(1));
    let Err(PolicyError::Invalid(places)) = refused else { panic!("{refused:?}") };
    let named: Vec<&str> = places.iter().map(|place| place.file.as_str()).collect();
    assert!(named.contains(&"1.yaml") && named.contains(&"2.yaml"), "every file's mistakes: {places:?}");
    let refused = core.apply_uploads(files(&[WEB, CIDR, WEB]), Timestamp(1)).unwrap_err().to_string();
    assert!(refused.contains("0.yaml and 2.yaml"), "{refused}");
    assert_eq!(picture(&core), before);

    // The disk refuses the second file: the first is taken back.
    let obstacle = dir.path().join("policies/api-00000001.json");
    std::fs::create_dir_all(obstacle.join("full")).unwrap();
    core.apply_uploads(files(&[WEB, CIDR]), Timestamp(1)).unwrap_err();
    assert_eq!((picture(&core), core.policies().len()), (before, 0));
    std::fs::remove_dir_all(&obstacle).unwrap();
    assert!(open(dir.path(), &[]).policies().is_empty(), "on disk too");

    let changed = core.apply_uploads(files(&[WEB, CIDR]), Timestamp(2)).unwrap();
    assert_eq!((changed.applied.len(), changed.endpoints), (2, 1));
    assert_eq!(open(dir.path(), &[]).policies().len(), 2);
}

#[test]
fn a_watched_file_owns_its_documents_and_keeps_its_last_good_version() {
    let dir = tempfile::tempdir().unwrap();
    let mut core = open(dir.path(), &[]);
    make(&mut core, "web", Some(&[("app", "web")]));
    let file = |text: &str| UploadText { file: "/etc/p.yaml".into(), ..upload(text) };
    core.apply_file(file(&format!("{WEB}---\n{CIDR}")), Timestamp(1)).unwrap();
    assert_eq!(core.policies().len(), 2);
    assert!(matches!(core.apply_uploads(set(WEB), Timestamp(2)), Err(PolicyError::Watched { .. })));
    assert!(core.apply_file(file("kind: Nonsense"), Timestamp(3)).is_err());
    assert_eq!(core.policies().len(), 2);
    let problems = core.policy_problems();
    assert!(problems.len() == 1 && problems[0].last_good_in_force, "{problems:?}");
    core.apply_file(file(WEB), Timestamp(4)).unwrap();
    assert_eq!((core.policies().len(), core.policy_problems().len()), (1, 0));
    assert_eq!(open(dir.path(), &[]).policies().len(), 1);
    core.remove_file("/etc/p.yaml").unwrap();
    assert!(core.policies().is_empty() && open(dir.path(), &[]).policies().is_empty());
}

#[test]
fn a_document_is_replaced_deleted_and_shown_as_written() {
    let dir = tempfile::tempdir().unwrap();
    let mut core = open(dir.path(), &[]);
    core.apply_uploads(set(&format!("{CIDR}---\n{WEB}")), Timestamp(1)).unwrap();
    let shown = core.policies();
    assert!(
        shown.iter().any(|policy| policy.yaml == WEB) && shown.iter().any(|policy| policy.yaml == CIDR),
        "{shown:?}"
    );
    let again = core.apply_uploads(set(WEB), Timestamp(2)).unwrap();
    assert!(again.applied.len() + again.unchanged.len() == 1);
    let references: Vec<PolicyRef> = core.policies().into_iter().map(|policy| policy.reference).collect();
    for reference in &references {
        core.delete_document(reference).unwrap();
        assert!(matches!(core.delete_document(reference), Err(PolicyError::NoSuchDocument(_))));
    }
    assert_eq!(std::fs::read_dir(dir.path().join("policies")).unwrap().count(), 0);
}

#[test]
fn questions_are_answered_by_name_address_and_label() {
    let dir = tempfile::tempdir().unwrap();
    let mut core = open(dir.path(), &[]);
    let web = make(&mut core, "web", Some(&[("app", "web")]));
    make(&mut core, "client", Some(&[("app", "client")]));
    core.apply_uploads(set(WEB), Timestamp(1)).unwrap();
    core.apply_uploads(set(CIDR), Timestamp(1)).unwrap();
    let mut ask = |from: &str, to: &str| {
        let query = nexin_api::v1::ExplainQuery {
            from: from.parse().unwrap(),
            to: to.parse().unwrap(),
            port: "80/TCP".parse().unwrap(),
        };
        core.explain(&query).map(|explained| explained.reply)
    };
    use nexin_api::v1::Verdict;
    assert_eq!(ask("client", "web").unwrap().verdict, Verdict::Allow);
    assert_eq!(ask("app=client", &format!("endpoint:{web}")).unwrap().verdict, Verdict::Allow);
    let refused = ask("app=stranger", "web").unwrap();
    assert_eq!(refused.verdict, Verdict::DefaultDeny);
    assert_eq!(refused.ingress.isolated_by[0].name, "web");
    assert_eq!(ask("web", "192.0.2.9").unwrap().verdict, Verdict::Allow);
    assert_eq!(ask("web", "198.51.100.9").unwrap().verdict, Verdict::DefaultDeny);
    assert!(matches!(ask("nobody", "web"), Err(QuestionError::NoPeer(_))));
    assert!(core.engine().identity(Identity(0x7e << 24)).is_none());
}

#[test]
fn a_simulation_tells_what_would_turn_and_turns_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut core = open(dir.path(), &[]);
    make(&mut core, "web", Some(&[("app", "web")]));
    make(&mut core, "client", Some(&[("app", "client")]));
    make(&mut core, "other", Some(&[("app", "other")]));
    let address = |core: &Core, name: &str| {
        let views = core.endpoint_views();
        IpAddr::from(views.iter().find(|view| view.name == name).unwrap().ipv4.unwrap())
    };
    let port = "80/TCP".parse().unwrap();
    let flows: Vec<_> = ["client", "other"]
        .map(|name| {
            let (source, destination) = (address(&core, name), address(&core, "web"));
            (crate::events::SeenFlow { source, destination, port }, true, 1)
        })
        .into();
    let before = picture(&core);
    let request = nexin_api::v1::SimulateRequest { yaml: WEB.into(), all: true, ..Default::default() };
    let reply = core.simulation(request, flows, 3).unwrap().run();
    assert_eq!((reply.flows, reply.changes.len(), reply.unchanged.len(), reply.lost_events), (2, 1, 1, 3));
    assert_eq!(reply.changes[0].flow.source_workload.as_deref(), Some("default/other"));
    assert_eq!(reply.changes[0].rule_after.as_ref().unwrap().policy.name, "web");
    assert_eq!(picture(&core), before);
}
