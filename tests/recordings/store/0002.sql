BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0002');
CREATE TABLE allocations (
	id INTEGER NOT NULL, 
	queue TEXT NOT NULL, 
	state TEXT NOT NULL, 
	since DOUBLE NOT NULL, 
	tag TEXT NOT NULL, 
	rest TEXT NOT NULL, 
	PRIMARY KEY (id), 
	UNIQUE (tag)
);
INSERT INTO "allocations" VALUES(41,'Q','running',1749999910.0,'hpcharvest-41-x','{"shape":{"nodes":4,"walltime_s":7200,"partition":"regular"},"jobs":[[6800000001,2]],"created_at":1749999901.0,"not_before":0.0,"submissions":1,"batch_id":"12345","batch_state":"running","batch_words":"RUNNING","batch_ended_at":0.0,"next_segment":0,"heard_at":0.0,"nodes":["nid001"],"cancel_requested":"","outcome":null}');
CREATE TABLE answers (
	id INTEGER NOT NULL, 
	queue TEXT NOT NULL, 
	at DOUBLE NOT NULL, 
	read BOOLEAN NOT NULL, 
	body BLOB NOT NULL, job_id INTEGER, 
	PRIMARY KEY (id)
);
INSERT INTO "answers" VALUES(1,'Q',1749999900.0,1,X'7B7D',NULL);
INSERT INTO "answers" VALUES(2,'Q',1750000000.0,0,X'7B22537461747573436F6465223A20307D',NULL);
CREATE TABLE bundles (
	id INTEGER NOT NULL, 
	job_id INTEGER NOT NULL, 
	allocation_id INTEGER NOT NULL, 
	archive TEXT NOT NULL, 
	state TEXT NOT NULL, 
	since DOUBLE NOT NULL, 
	not_before DOUBLE NOT NULL, 
	rest TEXT NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO "bundles" VALUES(1,6800000001,41,'a.tar','closed',1750000000.0,0.0,'{"size":5,"adler32":"00000001","ranges":1,"wall_s":0.0,"tries":0,"url":"","problem":""}');
CREATE TABLE event_ranges (
	job_id INTEGER NOT NULL, 
	id TEXT NOT NULL, 
	state TEXT NOT NULL, 
	file INTEGER NOT NULL, 
	first_event INTEGER NOT NULL, 
	last_event INTEGER NOT NULL, 
	allocation_id INTEGER, 
	feed INTEGER, 
	bundle_id INTEGER, 
	told BOOLEAN, 
	cpu_s DOUBLE, 
	cores INTEGER, 
	error TEXT, 
	PRIMARY KEY (job_id, id)
)
 WITHOUT ROWID

;
INSERT INTO "event_ranges" VALUES(6800000001,'7-6800000001-9-1-3','finished',0,1,1,41,0,1,NULL,2.5,1,NULL);
INSERT INTO "event_ranges" VALUES(6800000001,'7-6800000001-9-2-3','fed',0,2,2,41,0,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "event_ranges" VALUES(6800000001,'7-6800000001-9-3-3','ready',0,3,3,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
CREATE TABLE feeds (
	allocation_id INTEGER NOT NULL, 
	job_id INTEGER NOT NULL, 
	number INTEGER NOT NULL, 
	first INTEGER NOT NULL, 
	size INTEGER NOT NULL, 
	last BOOLEAN NOT NULL, 
	PRIMARY KEY (allocation_id, job_id, number)
);
INSERT INTO "feeds" VALUES(41,6800000001,0,0,2,0);
CREATE TABLE inbox (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	verb TEXT NOT NULL, 
	subject INTEGER NOT NULL, 
	asked_by TEXT NOT NULL, 
	asked_at DOUBLE NOT NULL, 
	state TEXT NOT NULL, 
	answer TEXT NOT NULL
);
INSERT INTO "inbox" VALUES(1,'kill_job',6800000001,'operator',1750000000.0,'done','killed');
CREATE TABLE job_specs (
	job_id INTEGER NOT NULL, 
	spec TEXT NOT NULL, 
	PRIMARY KEY (job_id)
);
INSERT INTO "job_specs" VALUES(6800000001,'{"panda_id":6800000001,"attempt_nr":2,"transformation":"Sim_tf.py","job_pars":"--maxEvents=100","inputs":[{"lfn":"EVNT.root","scope":"mc23","guid":"0a1b","size":1048576,"adler32":"0a0b0c0d","dataset":"","endpoint":""}],"outputs":[{"lfn":"HITS.root","scope":"mc23","dataset":"","endpoint":"SE","guid":"","log":false},{"lfn":"log.tgz","scope":"mc23","dataset":"","endpoint":"","guid":"","log":true}],"core_count":8,"memory_mb":16000,"disk_mb":0,"max_walltime_s":0,"task_id":0,"jobset_id":0,"priority":500,"prod_source_label":"","processing_type":"","resource_type":"","event_service":false}');
INSERT INTO "job_specs" VALUES(6800000002,'{"panda_id":6800000002,"attempt_nr":0,"transformation":"Sim_tf.py","job_pars":"","inputs":[],"outputs":[],"core_count":1,"memory_mb":0,"disk_mb":0,"max_walltime_s":0,"task_id":0,"jobset_id":0,"priority":900,"prod_source_label":"","processing_type":"","resource_type":"","event_service":false}');
CREATE TABLE jobs (
	id INTEGER NOT NULL, 
	queue TEXT NOT NULL, 
	state TEXT NOT NULL, 
	since DOUBLE NOT NULL, 
	received_at DOUBLE NOT NULL, 
	priority INTEGER NOT NULL, 
	attempt_nr INTEGER NOT NULL, 
	attempt INTEGER NOT NULL, 
	allocation_id INTEGER, 
	not_before DOUBLE NOT NULL, 
	rest TEXT NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO "jobs" VALUES(6800000001,'Q','ran',1750000000.0,1749999900.0,500,2,2,41,0.0,'{"tries":0,"infrastructure_losses":1,"kill_requested":"","outcome":{"result":"failed","exit_code":65,"signal":null,"reason":"","node":"nid001","started_at":1749999910.0,"ended_at":1749999999.0,"cpu_s":0.0,"max_rss_kb":0,"metadata":""},"stored":[],"error":"","error_code":0}');
INSERT INTO "jobs" VALUES(6800000002,'Q','received',1750000000.0,1750000000.0,900,0,0,NULL,0.0,'{"tries":0,"infrastructure_losses":0,"kill_requested":"","outcome":null,"stored":[],"error":"","error_code":0}');
CREATE TABLE journal (
	id INTEGER NOT NULL, 
	at DOUBLE NOT NULL, 
	subject TEXT NOT NULL, 
	subject_id INTEGER NOT NULL, 
	action TEXT NOT NULL, 
	detail TEXT NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO "journal" VALUES(1,1750000000.0,'job',6800000001,'ran','exit 65');
CREATE TABLE range_counts (
	job_id INTEGER NOT NULL, 
	allocation_id INTEGER NOT NULL, 
	state TEXT NOT NULL, 
	number INTEGER NOT NULL, 
	PRIMARY KEY (job_id, allocation_id, state)
);
INSERT INTO "range_counts" VALUES(6800000001,0,'ready',1);
INSERT INTO "range_counts" VALUES(6800000001,41,'fed',1);
INSERT INTO "range_counts" VALUES(6800000001,41,'finished',1);
CREATE TABLE range_files (
	job_id INTEGER NOT NULL, 
	number INTEGER NOT NULL, 
	lfn TEXT NOT NULL, 
	guid TEXT NOT NULL, 
	scope TEXT NOT NULL, 
	PRIMARY KEY (job_id, number)
);
INSERT INTO "range_files" VALUES(6800000001,0,'EVNT.root','g','mc');
CREATE TABLE reports (
	job_id INTEGER NOT NULL, 
	serial INTEGER NOT NULL, 
	status TEXT NOT NULL, 
	final BOOLEAN NOT NULL, 
	state TEXT NOT NULL, 
	since DOUBLE NOT NULL, 
	tries INTEGER NOT NULL, 
	not_before DOUBLE NOT NULL, 
	problem TEXT NOT NULL, 
	PRIMARY KEY (job_id)
);
INSERT INTO "reports" VALUES(6800000001,3,'ran',0,'owed',1750000000.0,0,0.0,'busy');
CREATE INDEX jobs_by_state ON jobs (state, queue, since);
CREATE INDEX jobs_waiting ON jobs (priority DESC, received_at, id) WHERE state = 'received';
CREATE INDEX allocations_by_state ON allocations (state, since);
CREATE INDEX journal_by_subject ON journal (subject, subject_id);
CREATE INDEX inbox_by_state ON inbox (state);
CREATE INDEX answers_by_read ON answers (read);
CREATE INDEX event_ranges_ready ON event_ranges (job_id, file, first_event, id) WHERE state = 'ready';
CREATE INDEX event_ranges_fed ON event_ranges (allocation_id, feed) WHERE state = 'fed';
CREATE INDEX event_ranges_by_bundle ON event_ranges (bundle_id) WHERE bundle_id IS NOT NULL;
CREATE INDEX bundles_by_job ON bundles (job_id, state);
CREATE INDEX bundles_by_allocation ON bundles (allocation_id, archive);
CREATE INDEX bundles_by_state ON bundles (state);
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('inbox',1);
COMMIT;
