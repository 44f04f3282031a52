"""The dashboard of what the product stands on: machine, PostgreSQL, RabbitMQ, Redis, Cassandra, haproxy."""

from parts import Board, graph, quantiles, rate, total

# File systems in memory and of containers are no disks.
DISKS = 'fstype!~"tmpfs|ramfs|squashfs|overlay"'
MACHINE = 'instance=~"$machine"'
BLOCKS_HIT = total("pg_stat_database_blks_hit", by="instance")

MACHINES = [
    graph(
        "Processor in use",
        ("1 - avg by (instance) (" + rate("node_cpu_seconds_total", MACHINE, 'mode="idle"') + ")", "{{instance}}"),
        unit="percentunit",
    ),
    graph(
        "Memory in use",
        (f"1 - node_memory_MemAvailable_bytes{{{MACHINE}}} / node_memory_MemTotal_bytes{{{MACHINE}}}", "{{instance}}"),
        unit="percentunit",
    ),
    graph(
        "Disk in use",
        (
            f"1 - min by (instance, mountpoint) (node_filesystem_avail_bytes{{{MACHINE}, {DISKS}}}"
            f" / node_filesystem_size_bytes{{{MACHINE}, {DISKS}}})",
            "{{instance}} {{mountpoint}}",
        ),
        unit="percentunit",
    ),
    graph(
        "Disk busy",
        (total("node_disk_io_time_seconds_total", MACHINE, by="instance, device"), "{{instance}} {{device}}"),
        unit="percentunit",
    ),
    graph(
        "Network",
        (total("node_network_receive_bytes_total", MACHINE, 'device!="lo"', by="instance"), "{{instance}} in"),
        (total("node_network_transmit_bytes_total", MACHINE, 'device!="lo"', by="instance"), "{{instance}} out"),
        unit="Bps",
    ),
    graph("Load", (f"node_load1{{{MACHINE}}}", "{{instance}}")),
]

POSTGRES = [
    graph(
        "Connections",
        ("sum by (instance, state) (pg_stat_activity_count) > 0", "{{instance}} {{state}}"),
        ("max by (instance) (pg_settings_max_connections)", "{{instance}} at most"),
    ),
    graph(
        "Transactions",
        (total("pg_stat_database_xact_commit", by="instance"), "{{instance}} committed"),
        (total("pg_stat_database_xact_rollback", by="instance"), "{{instance}} rolled back"),
        unit="ops",
    ),
    graph(
        "Lag of replicas",
        ("max by (instance) (pg_replica_lag_seconds)", "{{instance}}"),
        ("max(orderworks_replica_lag_seconds)", "as the API sees it"),
        unit="s",
        about="Empty without replicas",
    ),
    graph(
        "Log kept for slots",
        ("max by (slot_name) (pg_replication_slots_pg_wal_lsn_diff)", "{{slot_name}}"),
        unit="bytes",
        about="Empty without replicas",
    ),
    graph("Size", ("sum by (instance) (pg_database_size_bytes)", "{{instance}}"), unit="bytes"),
    graph("Longest transaction", ("max by (instance) (pg_stat_activity_max_tx_duration)", "{{instance}}"), unit="s"),
    graph(
        "Blocks found in memory",
        (f"{BLOCKS_HIT} / ({BLOCKS_HIT} + {total('pg_stat_database_blks_read', by='instance')})", "{{instance}}"),
        unit="percentunit",
    ),
    graph(
        "Deadlocks and transaction ids",
        ("sum by (instance) (increase(pg_stat_database_deadlocks[5m]))", "{{instance}} deadlocks in five minutes"),
        ("max by (instance) (pg_wraparound_transactions) / 2e9", "{{instance}} share of the ids used"),
    ),
    graph("Pools", ('sum by (pool, state) (orderworks_pool_connections{state!="max"})', "{{pool}} {{state}}")),
    graph("Wait for a connection of a pool", *quantiles("orderworks_pool_wait_seconds", by="pool"), unit="s"),
]

RABBITMQ = [
    graph(
        "Messages",
        ("sum(rabbitmq_queue_messages_ready)", "ready"),
        ("sum(rabbitmq_queue_messages_unacked)", "unacknowledged"),
    ),
    graph(
        "Traffic",
        (total("rabbitmq_global_messages_received_total"), "published"),
        (total("rabbitmq_global_messages_delivered_total"), "delivered"),
        (total("rabbitmq_global_messages_acknowledged_total"), "acknowledged"),
        (total("rabbitmq_global_messages_redelivered_total"), "delivered again"),
        unit="ops",
    ),
    graph(
        "Memory up to the alarm",
        ("rabbitmq_process_resident_memory_bytes / rabbitmq_resident_memory_limit_bytes", "{{instance}}"),
        unit="percentunit",
    ),
    graph(
        "Free disk",
        ("rabbitmq_disk_space_available_bytes", "{{instance}}"),
        ("rabbitmq_disk_space_available_limit_bytes", "{{instance}} alarm"),
        unit="bytes",
    ),
    graph(
        "Connections and channels", ("sum(rabbitmq_connections)", "connections"), ("sum(rabbitmq_channels)", "channels")
    ),
    graph(
        "Commit of quorum queues",
        ("avg by (instance) (rabbitmq_raft_entry_commit_latency_seconds)", "{{instance}}"),
        unit="s",
    ),
]

REDIS = [
    graph(
        "Memory",
        ("redis_memory_used_bytes", "{{instance}}"),
        ("redis_memory_max_bytes > 0", "{{instance}} at most"),
        unit="bytes",
    ),
    graph("Commands", (total("redis_commands_processed_total", by="instance"), "{{instance}}"), unit="ops"),
    graph("Clients", ("redis_connected_clients", "{{instance}}")),
    graph("Keys", ("sum by (instance) (redis_db_keys)", "{{instance}}")),
]

CASSANDRA = [
    graph("Requests", (total("cassandra_requests_total", by="operation"), "{{operation}}"), unit="ops"),
    graph(
        "p99 of requests",
        ('max by (operation) (cassandra_request_seconds{quantile="0.99"})', "{{operation}}"),
        unit="s",
    ),
    graph(
        "Requests without a result, messages dropped",
        ("sum by (operation, error) (increase(cassandra_request_errors_total[5m]))", "{{operation}} {{error}}"),
        ("sum by (instance) (increase(cassandra_dropped_messages_total[5m]))", "{{instance}} dropped"),
        about="In five minutes",
    ),
    graph("Nodes that are seen", ("cassandra_endpoints", "{{instance}} {{state}}")),
    graph(
        "Heap",
        ('jvm_memory_used_bytes{job="cassandra", area="heap"}', "{{instance}}"),
        ('jvm_memory_max_bytes{job="cassandra", area="heap"}', "{{instance}} at most"),
        unit="bytes",
    ),
    graph(
        "Collection of garbage",
        (total("jvm_gc_collection_seconds_sum", 'job="cassandra"', by="instance"), "{{instance}}"),
        unit="percentunit",
        about="Share of the time",
    ),
    graph("Data", ("cassandra_load_bytes", "{{instance}}"), unit="bytes"),
    graph(
        "Tasks that wait",
        ("sum by (instance) (cassandra_pending_compactions)", "{{instance}} compactions"),
        ("sum by (instance) (cassandra_pending_tasks)", "{{instance}} requests"),
    ),
]

HAPROXY = [
    graph("Servers behind the proxy", ("max by (proxy) (haproxy_backend_active_servers)", "{{proxy}}")),
    graph(
        "Answers", (total("haproxy_backend_http_responses_total", by="proxy, code"), "{{proxy}} {{code}}"), unit="reqps"
    ),
    graph("Sessions", ("sum by (proxy) (haproxy_frontend_current_sessions)", "{{proxy}}")),
    graph(
        "Trouble with servers",
        ("sum by (proxy) (increase(haproxy_backend_connection_errors_total[5m]))", "{{proxy}} not connected"),
        ("sum by (proxy) (increase(haproxy_backend_redispatch_warnings_total[5m]))", "{{proxy}} sent to another"),
        about="In five minutes",
    ),
]

BOARD = Board(
    uid="orderworks-stores",
    title="Orderworks: stores",
    about="Machines, and the servers that the product stands on, as their exporters show them.",
    variables=[("machine", "label_values(node_load1, instance)")],
    rows=[
        ("Machines", MACHINES),
        ("PostgreSQL", POSTGRES),
        ("RabbitMQ", RABBITMQ),
        ("Redis", REDIS),
        ("Cassandra", CASSANDRA),
        ("haproxy", HAPROXY),
    ],
)
