//! Tables of texts and their errors; the ring's promises.

use proptest::prelude::*;

use super::*;

fn tier(name: &str, nodes: impl IntoIterator<Item = usize>) -> Tier {
    let node =
        |n| Node { name: format!("{name}-{n}"), address: format!("127.0.0.1:{}", 7_000 + n), admin: None };
    Tier { name: name.to_owned(), nodes: nodes.into_iter().map(node).collect() }
}

fn topology(shards: u32, followers: impl IntoIterator<Item = usize>) -> Topology {
    let group = |id: u16| HostGroup {
        id: HostGroupId(id),
        master: "local".into(),
        epoch: FIRST_EPOCH,
        mode: ReplicationMode::Async,
        servers: BTreeMap::from([(
            "local".to_owned(),
            Dsn::new(format!("mysql://tao:secret@db{id}:3306/tao")),
        )]),
    };
    Topology {
        version: 1,
        cluster: "test".into(),
        shards,
        regions: vec![Region {
            name: "local".into(),
            leaders: tier("leader", 1..=2),
            followers: vec![tier("follower", followers)],
        }],
        host_groups: vec![group(10), group(20), group(30)],
        assignments: vec![Assignment { shard: ShardId(4), host_group: HostGroupId(30), epoch: Epoch(7) }],
    }
}

const FOLLOWERS: TierRef = TierRef::followers(0, 0);

#[test]
fn is_rendered_and_parsed_without_loss() {
    let topology = topology(64, 1..=3);
    assert_eq!(Topology::parse(&topology.to_toml(), "t.toml").unwrap(), topology);
    let pinned = topology.pinned();
    assert_eq!(pinned.assignments.len(), 64);
    assert_eq!(Topology::parse(&pinned.to_toml(), "t.toml").unwrap(), pinned);
    assert_eq!(Placement::compute(&pinned), Placement::compute(&topology));
}

#[test]
fn clients_and_logs_see_no_password() {
    let topology = topology(64, 1..=3);
    let client = topology.to_client_toml();
    assert!(!client.contains("secret") && !client.contains("mysql"), "{client}");
    assert_eq!(
        Placement::compute(&Topology::parse(&client, "c.toml").unwrap()),
        Placement::compute(&topology),
        "a client places shards as a node does"
    );
    assert!(!format!("{topology:?}").contains("secret"));
    let table = [
        ("mysql://tao:se/c@ret?x@db:3306/tao?ssl=1", "mysql://tao:***@db:3306/tao"),
        ("mysql://tao@db:3306/tao", "mysql://tao@db:3306/tao"),
        ("memory://local", "memory://local"),
        ("secret", "***"),
    ];
    for (dsn, shown) in table {
        assert_eq!(Dsn::new(dsn).to_string(), shown);
        assert_eq!(Dsn::new(dsn).expose(), dsn);
    }
}

#[test]
fn a_shard_is_where_the_rule_or_an_assignment_puts_it() {
    let topology = topology(64, 1..=3);
    let placement = Placement::compute(&topology);
    let place = |shard| placement.host_group(ShardId(shard));
    assert_eq!(place(0), Some((HostGroupId(10), Epoch(1))));
    assert_eq!(place(5), Some((HostGroupId(30), Epoch(1))));
    assert_eq!(place(4), Some((HostGroupId(30), Epoch(7))), "the assignment wins over 4 mod 3");
    assert_eq!(place(64), None);
    for shard in placement.shards() {
        let place = topology.assignment(shard).unwrap();
        assert_eq!(placement.host_group(shard), Some((place.host_group, place.epoch)));
    }
    assert_eq!(topology.assignment(ShardId(64)), None);
}

/// What a good topology's text is refused for after one replacement.
fn refusal(good: &str, bad: &str) -> String {
    const GOOD: &str = r#"version = 1
cluster = "dev"
shards = 64

[[regions]]
name = "local"
[regions.leaders]
name = "leaders"
nodes = [{ name = "leader-1", address = "127.0.0.1:7101" }]
[[regions.followers]]
name = "followers"
nodes = [
    { name = "follower-1", address = "[::1]:7201" },
    { name = "follower-2", address = "localhost:7202" },
]

[[host_groups]]
id = 1
master = "local"
servers = { local = "mysql://tao@127.0.0.1:3306/tao" }

[[assignments]]
shard = 7
host_group = 1
epoch = 2
"#;
    Topology::parse(GOOD, "t.toml").unwrap();
    assert!(GOOD.contains(good), "{good}");
    Topology::parse(&GOOD.replacen(good, bad, 1), "t.toml").unwrap_err().to_string()
}

#[test]
fn parse_errors_name_file_line_and_key() {
    insta::assert_snapshot!(refusal("version = 1", "version = 0"), @"t.toml:1: version: versions start at 1");
    insta::assert_snapshot!(refusal("\"dev\"", "\"Dev 1\""), @r#"t.toml:2: cluster: "Dev 1" is no name: a lower-case letter, then letters, digits, - and _, at most 64"#);
    insta::assert_snapshot!(refusal("shards = 64", "shards = 65537"), @"t.toml:3: shards: 65537 shards; from 1 to 65536");
    insta::assert_snapshot!(refusal("shards = 64", "shard = 64"), @"t.toml:3: shard: unknown field `shard`, expected one of `version`, `cluster`, `shards`, `regions`, `host_groups`, `assignments`");
    insta::assert_snapshot!(refusal("\"followers\"", "\"leaders\""), @r#"t.toml:11: regions.0.followers.0.name: a tier "leaders" is there already"#);
    insta::assert_snapshot!(refusal("\"follower-2\"", "\"follower-1\""), @r#"t.toml:14: regions.0.followers.0.nodes.1.name: a node "follower-1" is there already"#);
    insta::assert_snapshot!(refusal("localhost:7202", "localhost"), @r#"t.toml:14: regions.0.followers.0.nodes.1.address: "localhost" is no address; host:port"#);
    insta::assert_snapshot!(refusal("{ name = \"leader-1\", address = \"127.0.0.1:7101\" }", ""), @"t.toml:9: regions.0.leaders.nodes: 0 of them; from 1 to 1024");
    insta::assert_snapshot!(refusal("master = \"local\"", "master = \"east\""), @r#"t.toml:19: host_groups.0.master: no region "east""#);
    insta::assert_snapshot!(refusal("{ local = \"mysql", "{ east = \"mysql"), @r#"t.toml:20: host_groups.0.servers: no region "east""#);
    insta::assert_snapshot!(refusal("shard = 7", "shard = 64"), @"t.toml:23: assignments.0.shard: shard 64 of 64; shards start at 0");
    insta::assert_snapshot!(refusal("host_group = 1", "host_group = 2"), @"t.toml:24: assignments.0.host_group: no host group 2");
    insta::assert_snapshot!(refusal("epoch = 2", "epoch = 0"), @"t.toml:25: assignments.0.epoch: epochs start at 1");
    insta::assert_snapshot!(refusal("{ local = \"mysql://tao@127.0.0.1:3306/tao\" }", "\"mysql://tao:secret@h\""), @"t.toml:20: host_groups.servers: the value has another form than the key takes; it is not shown, as it may hold a password");
    insta::assert_snapshot!(refusal("localhost:7202", "mysql://tao:secret@h"), @r#"t.toml:14: regions.0.followers.0.nodes.1.address: "mysql://tao:***@h" is no address; host:port"#);
    insta::assert_snapshot!(refusal("epoch = 2", "epoch = -2"), @"t.toml:25: assignments.epoch: invalid value: integer `-2`, expected u32");
}

fn owners(topology: &Topology) -> Vec<String> {
    let placement = Placement::compute(topology);
    let tier = topology.tier(FOLLOWERS).unwrap();
    let name = |shard| tier.nodes[usize::from(placement.owner(FOLLOWERS, shard).unwrap())].name.clone();
    placement.shards().map(name).collect()
}

/// Nodes and clients of different builds must agree for ever: a changed hash or order is an outage.
#[test]
fn placement_is_fixed() {
    let topology = topology(16, 1..=3);
    let placement = Placement::compute(&topology);
    let shown: Vec<_> =
        placement.shards().map(|shard| placement.candidates(FOLLOWERS, shard).to_vec()).collect();
    insta::assert_compact_debug_snapshot!(shown, @"[[1, 0, 2], [1, 0, 2], [0, 2, 1], [0, 1, 2], [0, 1, 2], [2, 1, 0], [2, 1, 0], [2, 1, 0], [0, 2, 1], [2, 0, 1], [1, 0, 2], [0, 1, 2], [1, 0, 2], [2, 0, 1], [0, 1, 2], [2, 1, 0]]");
    let mut turned = topology.clone();
    turned.regions[0].followers[0].nodes.reverse();
    assert_eq!(owners(&turned), owners(&topology), "names decide, not their order in the file");
}

#[test]
fn unknown_tiers_and_shards_have_no_candidates() {
    let placement = Placement::compute(&topology(16, 1..=3));
    assert_eq!(placement.candidates(TierRef::followers(0, 1), ShardId(0)), [0u16; 0]);
    assert_eq!(placement.candidates(FOLLOWERS, ShardId(16)), [0u16; 0]);
    assert_eq!(placement.owner(TierRef::leaders(1), ShardId(0)), None);
}

#[test]
fn a_new_node_takes_its_share_and_little_else_moves() {
    for nodes in [4, 8, 16] {
        let (before, after) = (owners(&topology(4_096, 1..=nodes)), owners(&topology(4_096, 1..=nodes + 1)));
        let moved = before.iter().zip(&after).filter(|(before, after)| before != after).count();
        let share = 4_096 / (nodes + 1);
        // The cap moves some more: shards that it had turned away from a full node find room again.
        assert!(
            moved >= share * 8 / 10 && moved <= share * 14 / 10,
            "{nodes} nodes: {moved} moved, share {share}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn no_node_owns_more_than_its_cap(shards in 1u32..600, nodes in 1usize..24, first in 0usize..1_000) {
        let topology = topology(shards, first..first + nodes);
        let placement = Placement::compute(&topology);
        // ceil(1.05 * shards / nodes), in floats to say it a second way.
        let cap = (1.05 * f64::from(shards) / nodes as f64 - 1e-9).ceil() as usize;
        let mut sum = 0;
        for node in 0..nodes as u16 {
            let owned = placement.owned_by(FOLLOWERS, node).count();
            prop_assert!(owned <= cap, "node {} owns {} of {}, cap {}", node, owned, shards, cap);
            sum += owned;
        }
        prop_assert_eq!(sum, shards as usize, "every shard has one owner");
        for shard in placement.shards() {
            let mut candidates = placement.candidates(FOLLOWERS, shard).to_vec();
            prop_assert_eq!(candidates.len(), nodes.min(MAX_CANDIDATES));
            candidates.sort_unstable();
            candidates.dedup();
            prop_assert_eq!(candidates.len(), nodes.min(MAX_CANDIDATES), "candidates differ");
        }
    }
}
