-- Rows that a partition or child had when it came below an attached table. Of one that still lacks the index of the table above, which
-- is as if it were away (an odd number of moments after the first), the check of indexes has the remedy that comes first.
WITH RECURSIVE below(tbl) AS (
    SELECT s.tbl::oid FROM @extschema@.ip_source s
    UNION
    SELECT i.inhrelid FROM below b JOIN pg_inherits i ON i.inhparent = b.tbl)
SELECT 'partitions', 'warning', format('%s had rows when it was put below an attached table; they are not counted.', p.tbl),
       format('SELECT %s.populate_ip_inventory(%L);', '@extschema@', p.tbl::text)
FROM @extschema@.ip_source_part p JOIN below b ON b.tbl = p.tbl JOIN pg_class c ON c.oid = p.tbl
WHERE p.populated_at IS NULL AND p.attached_snapshot IS NOT NULL
  AND (length(p.attached_snapshot) - length(replace(p.attached_snapshot, '>', ''))) % 2 = 0 AND p.attached_on = @extschema@._database_identity()
