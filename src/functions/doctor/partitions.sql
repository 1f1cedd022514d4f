-- Rows that a partition or child had when it came below an attached table. Of a child that nothing observes there yet, which is as if it
-- were away (an odd number of moments after the first), the check of indexes, or of triggers, has the remedy that comes first. A call for
-- the table above counts those of all its parts, but for one with a DETACH ... CONCURRENTLY that was interrupted, and what is below that.
WITH RECURSIVE below(tbl, top, far) AS (
    SELECT s.tbl::oid, s.tbl::oid, 0 FROM @extschema@.ip_source s
    UNION
    SELECT i.inhrelid, CASE WHEN i.inhdetachpending THEN i.inhrelid ELSE b.top END, b.far + 1
    FROM below b JOIN pg_inherits i ON i.inhparent = b.tbl
    WHERE i.inhrelid NOT IN (SELECT s.tbl::oid FROM @extschema@.ip_source s)),
-- The nearest attached table above, for which it counts.
nearest AS (SELECT DISTINCT ON (b.tbl) b.tbl, b.top FROM below b ORDER BY b.tbl, b.far, b.top),
part AS (
    SELECT p.tbl::text AS name, p.tbl::oid AS tbl, n.top,
           -- Of such a table, which was restored from a dump, nobody can tell the rows of before.
           EXISTS (SELECT FROM @extschema@.ip_source s
                   WHERE s.tbl = n.top AND s.populated_at IS NULL AND s.attached_on IS DISTINCT FROM p.attached_on) AS is_refused,
           EXISTS (SELECT FROM @extschema@.ip_source s WHERE s.tbl = n.top AND s.populated_at IS NULL) AS is_uncounted
    FROM @extschema@.ip_source_part p JOIN nearest n ON n.tbl = p.tbl JOIN pg_class c ON c.oid = p.tbl
    WHERE p.populated_at IS NULL AND p.attached_snapshot IS NOT NULL
      AND (length(p.attached_snapshot) - length(replace(p.attached_snapshot, '>', ''))) % 2 = 0 AND p.attached_on = @extschema@._database_identity()),
whole AS (
    SELECT p.top, p.is_refused, count(*) AS tables, array_agg(p.name ORDER BY p.tbl) AS names, bool_or(p.is_uncounted) AS is_uncounted FROM part p GROUP BY p.top, p.is_refused)
SELECT 'partitions', 'warning',
       CASE WHEN w.tables = 1 THEN format('%s had rows when it was put below an attached table; they are not counted.', w.names[1])
            ELSE format('%s%s had rows when they were put below %s; they are not counted.', array_to_string(w.names[1:3], ', '),
                        CASE WHEN w.tables > 3 THEN format(' and %s others', w.tables - 3) END, w.top::regclass) END,
       CASE WHEN w.tables = 1 THEN format('SELECT %s.populate_ip_inventory(%L);', '@extschema@', w.names[1])
            WHEN w.is_refused THEN format('SELECT %s.populate_ip_inventory(tbl) FROM unnest(%L::regclass[]) tbl;', '@extschema@', w.names)
            ELSE concat(format('SELECT %s.populate_ip_inventory(%L);', '@extschema@', w.top::regclass::text),
                        CASE WHEN w.is_uncounted THEN '  -- also counts the rows that were there before it was attached' END) END
FROM whole w
