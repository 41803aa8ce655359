-- Views over the tables, for DuckDB: duckdb -init views.sql
-- SET VARIABLE model = 'NAME';        the views of one model are of this one
-- SET VARIABLE out = '/where/it/is';  of an output that was moved: before this file is read

-- the files of a table; letters that are magic in a pattern stand for themselves in the folder
CREATE OR REPLACE MACRO table_files(name) AS
regexp_replace(coalesce(getvariable('out'), '/recordings/output'), '([[*?])', '[\1]', 'g')
|| '/' || name || '/**/*.parquet';

CREATE OR REPLACE VIEW clips AS
SELECT clip_id, uri, version, model_id, size_bytes, duration_s, sample_rate_hz, channels, content_start_s, content_end_s, peak, n_segments, damage, notes, recorded_at, extra, processed_at, run_id FROM (
    SELECT NULL::VARCHAR AS clip_id, NULL::VARCHAR AS uri, NULL::VARCHAR AS version, NULL::VARCHAR AS model_id, NULL::BIGINT AS size_bytes, NULL::DOUBLE AS duration_s, NULL::INTEGER AS sample_rate_hz, NULL::INTEGER AS channels, NULL::DOUBLE AS content_start_s, NULL::DOUBLE AS content_end_s, NULL::FLOAT AS peak, NULL::INTEGER AS n_segments, NULL::VARCHAR AS damage, NULL::VARCHAR AS notes, NULL::TIMESTAMP AS recorded_at, NULL::VARCHAR AS extra, NULL::TIMESTAMP WITH TIME ZONE AS processed_at, NULL::VARCHAR AS run_id, NULL::VARCHAR AS model WHERE false
    UNION ALL BY NAME FROM read_parquet(table_files('clips'), union_by_name=true,
    hive_partitioning=true, hive_types_autocast=false)) AS part;

CREATE OR REPLACE VIEW failures AS
SELECT clip_id, uri, version, model_id, stage, reason, detail, final, attempted_at, run_id FROM (
    SELECT NULL::VARCHAR AS clip_id, NULL::VARCHAR AS uri, NULL::VARCHAR AS version, NULL::VARCHAR AS model_id, NULL::VARCHAR AS stage, NULL::VARCHAR AS reason, NULL::VARCHAR AS detail, NULL::BOOLEAN AS final, NULL::TIMESTAMP WITH TIME ZONE AS attempted_at, NULL::VARCHAR AS run_id, NULL::VARCHAR AS model WHERE false
    UNION ALL BY NAME FROM read_parquet(table_files('failures'), union_by_name=true,
    hive_partitioning=true, hive_types_autocast=false)) AS part;

CREATE OR REPLACE VIEW events AS
SELECT clip_id, uri, version, model_id, tag, mid, start_s, end_s, peak_score, mean_score FROM (
    SELECT NULL::VARCHAR AS clip_id, NULL::VARCHAR AS uri, NULL::VARCHAR AS version, NULL::VARCHAR AS model_id, NULL::VARCHAR AS tag, NULL::VARCHAR AS mid, NULL::DOUBLE AS start_s, NULL::DOUBLE AS end_s, NULL::FLOAT AS peak_score, NULL::FLOAT AS mean_score, NULL::VARCHAR AS model WHERE false
    UNION ALL BY NAME FROM read_parquet(table_files('events'), union_by_name=true,
    hive_partitioning=true, hive_types_autocast=false)) AS part;

CREATE OR REPLACE VIEW timeline AS
SELECT part.clip_id, uri, model_id, bag, start_s, end_s, tag, score, attention FROM (
    SELECT NULL::VARCHAR AS clip_id, NULL::INTEGER AS bag, NULL::DOUBLE AS start_s, NULL::DOUBLE AS end_s, NULL::VARCHAR AS tag, NULL::FLOAT AS score, NULL::FLOAT[] AS attention, NULL::VARCHAR AS model WHERE false
    UNION ALL BY NAME FROM read_parquet(table_files('timeline'), union_by_name=true,
    hive_partitioning=true, hive_types_autocast=false)) AS part
JOIN clips ON clips.clip_id = part.clip_id AND clips.model_id = part.model;

CREATE OR REPLACE VIEW embeddings AS
SELECT part.clip_id, uri, model_id, extractor, segment, start_s, end_s, embedding FROM (
    SELECT NULL::VARCHAR AS clip_id, NULL::VARCHAR AS extractor, NULL::INTEGER AS segment, NULL::DOUBLE AS start_s, NULL::DOUBLE AS end_s, NULL::FLOAT[] AS embedding, NULL::VARCHAR AS model WHERE false
    UNION ALL BY NAME FROM read_parquet(table_files('embeddings'), union_by_name=true,
    hive_partitioning=true, hive_types_autocast=false)) AS part
JOIN clips ON clips.clip_id = part.clip_id AND clips.model_id = part.model;

CREATE OR REPLACE VIEW tags AS
SELECT clip_id, uri, version, model_id, rank, tag, mid, score, max_score, heard_s FROM (
    SELECT NULL::VARCHAR AS clip_id, NULL::VARCHAR AS uri, NULL::VARCHAR AS version, NULL::VARCHAR AS model_id, NULL::INTEGER AS rank, NULL::VARCHAR AS tag, NULL::VARCHAR AS mid, NULL::FLOAT AS score, NULL::FLOAT AS max_score, NULL::DOUBLE AS heard_s, NULL::VARCHAR AS model WHERE false
    UNION ALL BY NAME FROM read_parquet(table_files('tags'), union_by_name=true,
    hive_partitioning=true, hive_types_autocast=false)) AS part;

CREATE OR REPLACE VIEW models AS
SELECT model_id, count(processed_at) AS n_clips, max(processed_at) AS last_tagged_at,
    max(attempted_at) AS last_failed_at
FROM (
    SELECT model_id, processed_at, NULL AS attempted_at FROM clips
    UNION ALL SELECT model_id, NULL, attempted_at FROM failures)
GROUP BY model_id;

CREATE OR REPLACE VIEW chosen_model AS
SELECT coalesce(getvariable('model'), (
    SELECT model_id FROM models
    ORDER BY last_tagged_at DESC NULLS LAST, last_failed_at DESC NULLS LAST, model_id
    LIMIT 1)) AS model_id;

CREATE OR REPLACE VIEW current_clips AS
SELECT * FROM clips WHERE model_id = (FROM chosen_model)
QUALIFY row_number() OVER (PARTITION BY uri ORDER BY processed_at DESC, clip_id) = 1;

CREATE OR REPLACE VIEW current_tags AS
SELECT tags.* FROM tags SEMI JOIN current_clips USING (clip_id, model_id);

CREATE OR REPLACE VIEW current_timeline AS
SELECT timeline.* FROM timeline SEMI JOIN current_clips USING (clip_id, model_id);

CREATE OR REPLACE VIEW current_events AS
SELECT events.* FROM events SEMI JOIN current_clips USING (clip_id, model_id);

CREATE OR REPLACE VIEW current_embeddings AS
SELECT embeddings.* FROM embeddings SEMI JOIN current_clips USING (clip_id, model_id);

CREATE OR REPLACE VIEW top_tags AS
SELECT c.clip_id, c.uri, c.model_id, t.tag, t.mid, t.score
FROM current_clips c
LEFT JOIN tags t ON t.clip_id = c.clip_id AND t.model_id = c.model_id AND t.rank = 1;

CREATE OR REPLACE VIEW open_failures AS
SELECT * FROM failures f
WHERE model_id = (FROM chosen_model) AND NOT EXISTS (
    FROM clips c
    WHERE c.model_id = f.model_id AND c.uri = f.uri
    AND (c.clip_id = f.clip_id OR c.processed_at >= f.attempted_at))
QUALIFY row_number() OVER (PARTITION BY uri ORDER BY attempted_at DESC, clip_id) = 1;
