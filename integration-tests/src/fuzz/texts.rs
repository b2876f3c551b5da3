//! Texts that people write: graph schemas and topologies.

use tao_schema::graph_schema::{FieldDefs, GraphSchema};
use tao_schema::limits::{MAX_ASSOC_BYTES, MAX_FIELDS, MAX_OBJECT_BYTES, MAX_QUERY_LIMIT};
use tao_schema::topology::{Placement, Topology, TopologyError};

use super::Target;

/// See [`graph_schema`].
pub const GRAPH_SCHEMA: Target = Target {
    name: "graph_schema",
    body: graph_schema,
    corpus: schemas,
    words: &[
        "\n",
        "[assoc.x]\n",
        "[object.x]\n",
        "id = 1\n",
        "inverse = \"b\"\n",
        "symmetric = true\n",
        "query_limit = 0\n",
        "max_bytes = 65537\n",
        "= -1",
        "kind = \"blob\"",
        "default = \"AAA=\"",
        "format = 1\n",
        "\"",
        "{",
        "}",
        "99999999999",
    ],
};
/// See [`topology`].
pub const TOPOLOGY: Target = Target {
    name: "topology",
    body: topology,
    corpus: topologies,
    words: &[
        "\n",
        "[[regions]]\n",
        "[[host_groups]]\n",
        "[[assignments]]\n",
        "shard = 7\n",
        "epoch = 0\n",
        "version = 0\n",
        "shards = 65537\n",
        "mode = \"lossless\"\n",
        "nodes = []",
        "master = \"x\"\n",
        "\"",
        "{",
        "}",
        "-1",
        "name = \"a\"\n",
    ],
};

/// What is accepted keeps the rules of the format, and its own text parses to the same; an error names a line of the text.
pub fn graph_schema(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let schema = match GraphSchema::parse(text, "fuzz.toml") {
        Ok(schema) => schema,
        Err(error) => return names_a_line(text, &error),
    };
    let again = GraphSchema::parse(schema.source(), "fuzz.toml").expect("its own source");
    assert!(schema.object_types().eq(again.object_types()) && schema.assoc_types().eq(again.assoc_types()));
    for def in schema.object_types() {
        assert!((1..=32_767).contains(&def.id.0) && def.max_bytes <= MAX_OBJECT_BYTES);
        assert_eq!(schema.object_type_named(&def.name), Some(def));
        fields_keep_the_rules(&def.fields);
    }
    for def in schema.assoc_types() {
        assert!((1..=32_767).contains(&def.id.0) && def.max_bytes <= MAX_ASSOC_BYTES);
        assert!((1..=MAX_QUERY_LIMIT).contains(&def.query_limit));
        assert_eq!(schema.assoc_type_named(&def.name), Some(def));
        fields_keep_the_rules(&def.fields);
        let Some(inverse) = def.inverse else {
            assert!(def.forward && !def.symmetric);
            continue;
        };
        let other = schema.assoc_type(inverse).expect("an inverse that is declared");
        assert_eq!(other.inverse, Some(def.id), "inverses name each other");
        assert_eq!(def.symmetric, other.id == def.id);
        assert!(def.symmetric || def.forward != other.forward, "one side orders the pair");
        assert_eq!(
            (&def.fields, def.max_bytes),
            (&other.fields, other.max_bytes),
            "both sides hold the same data"
        );
    }
}

fn fields_keep_the_rules(defs: &FieldDefs) {
    assert!(defs.iter().len() <= MAX_FIELDS);
    assert!(defs.iter().is_sorted_by(|a, b| a.id < b.id), "each number once");
    for def in defs.iter() {
        assert!(def.id.0 > 0 && def.default.kind() == def.kind);
        assert_eq!(defs.named(&def.name), Some(def));
        assert_eq!(defs.get(def.id), Some(def));
    }
}

/// What is accepted comes back from its own text, places every shard, and shows clients no server; an error names a line.
pub fn topology(bytes: &[u8]) {
    /// Placing shards takes time for each.
    const FEW_SHARDS: u32 = 256;
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let topology = match Topology::parse(text, "fuzz.toml") {
        Ok(topology) => topology,
        Err(error) => return names_a_line(text, &error),
    };
    assert_eq!(Topology::parse(&topology.to_toml(), "again.toml").as_ref(), Ok(&topology));
    let client = Topology::parse(&topology.to_client_toml(), "client.toml").expect("what clients get");
    assert!(client.host_groups.iter().all(|group| group.servers.is_empty()));
    if topology.shards > FEW_SHARDS {
        return;
    }
    let pinned = topology.pinned();
    assert_eq!(Topology::parse(&pinned.to_toml(), "pinned.toml").as_ref(), Ok(&pinned));
    let placement = Placement::compute(&topology);
    assert_eq!(placement, Placement::compute(&pinned), "pinning moves nothing");
    assert_eq!(placement, Placement::compute(&client), "a client places shards as a node does");
    for assignment in topology.all_assignments() {
        let place = placement.host_group(assignment.shard);
        assert_eq!(place, Some((assignment.host_group, assignment.epoch)));
        assert!(topology.host_group(assignment.host_group).is_some());
    }
}

fn names_a_line(text: &str, error: &TopologyError) {
    assert!((1..=text.matches('\n').count() + 1).contains(&error.line), "{error}");
    assert!(!error.message.is_empty());
}

fn schemas() -> Vec<Vec<u8>> {
    let small = "format = 1\n[object.a]\nid = 1\nfields = { x = { id = 1, kind = \"blob\", default = \"AAA=\" } }\n\
                 [assoc.a]\nid = 1\ninverse = \"b\"\n[assoc.b]\nid = 2\nquery_limit = 5\n[assoc.c]\nid = 3\nsymmetric = true\n";
    [small, GraphSchema::demo().source(), crate::model::SCHEMA].map(|text| text.as_bytes().to_vec()).to_vec()
}

fn topologies() -> Vec<Vec<u8>> {
    let one = "version = 1\ncluster = \"dev\"\nshards = 16\nhost_groups = [{ id = 1, master = \"local\", servers = { local = \
               \"mysql://tao:secret@127.0.0.1:3306/tao\" } }]\n[[regions]]\nname = \"local\"\nleaders = { name = \"leaders\", \
               nodes = [{ name = \"leader-1\", address = \"127.0.0.1:7101\" }] }\n";
    let two = "version = 3\ncluster = \"two\"\nshards = 8\n[[regions]]\nname = \"east\"\nleaders = { name = \"le\", nodes = \
               [{ name = \"le-1\", address = \"h:1\" }, { name = \"le-2\", address = \"h:2\", admin = \"h:3\" }] }\n\
               [[regions.followers]]\nname = \"fe\"\nnodes = [{ name = \"fe-1\", address = \"h:4\" }]\n\
               [[regions]]\nname = \"west\"\nleaders = { name = \"lw\", nodes = [{ name = \"lw-1\", address = \"h:5\" }] }\n\
               [[host_groups]]\nid = 1\nmaster = \"east\"\nepoch = 2\nmode = \"lossless\"\nservers = { east = \"mysql://a@b:1/c\", \
               west = \"mysql://a@d:1/c\" }\n[[host_groups]]\nid = 9\nmaster = \"west\"\n[[assignments]]\nshard = 7\n\
               host_group = 1\nepoch = 4\n";
    [one, two].map(|text| text.as_bytes().to_vec()).to_vec()
}
