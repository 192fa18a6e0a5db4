BEGIN TRANSACTION;
CREATE TABLE artifacts (
	id VARCHAR(64) NOT NULL, 
	file TEXT NOT NULL, 
	media_type VARCHAR(100) NOT NULL, 
	bytes BIGINT NOT NULL, 
	width INTEGER, 
	height INTEGER, 
	created FLOAT NOT NULL, 
	used FLOAT NOT NULL, 
	gone BOOLEAN NOT NULL, 
	PRIMARY KEY (id)
);
CREATE TABLE durations (
	"key" VARCHAR(200) NOT NULL, 
	seconds FLOAT NOT NULL, 
	count INTEGER NOT NULL, 
	PRIMARY KEY ("key")
);
CREATE TABLE events (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	job_id VARCHAR(36) NOT NULL, 
	at FLOAT NOT NULL, 
	data TEXT NOT NULL
);
CREATE TABLE finished (
	digest VARCHAR(64) NOT NULL, 
	fingerprint TEXT NOT NULL, 
	artifact_id VARCHAR(64) NOT NULL, 
	PRIMARY KEY (digest, fingerprint), 
	FOREIGN KEY(artifact_id) REFERENCES artifacts (id)
);
CREATE TABLE job_artifacts (
	job_id VARCHAR(36) NOT NULL, 
	kind VARCHAR(16) NOT NULL, 
	idx INTEGER NOT NULL, 
	artifact_id VARCHAR(64) NOT NULL, 
	name TEXT NOT NULL, 
	seed BIGINT, 
	PRIMARY KEY (job_id, kind, idx), 
	FOREIGN KEY(job_id) REFERENCES jobs (id), 
	FOREIGN KEY(artifact_id) REFERENCES artifacts (id)
);
CREATE TABLE jobs (
	id VARCHAR(36) NOT NULL, 
	kind VARCHAR(16) NOT NULL, 
	owner TEXT NOT NULL, 
	state VARCHAR(16) NOT NULL, 
	lane VARCHAR(16) NOT NULL, 
	priority INTEGER NOT NULL, 
	place FLOAT NOT NULL, 
	paused BOOLEAN NOT NULL, 
	cancelled BOOLEAN NOT NULL, 
	title TEXT NOT NULL, 
	request TEXT NOT NULL, 
	"plan" TEXT, 
	training TEXT, 
	digest VARCHAR(64), 
	fresh BOOLEAN NOT NULL, 
	idempotency_key TEXT, 
	asked VARCHAR(64), 
	created FLOAT NOT NULL, 
	started FLOAT, 
	ended FLOAT, 
	deadline FLOAT, 
	not_before FLOAT, 
	attempts INTEGER NOT NULL, 
	failures INTEGER NOT NULL, 
	crashes INTEGER NOT NULL, 
	progress FLOAT NOT NULL, 
	doing TEXT NOT NULL, 
	remaining FLOAT, 
	expected FLOAT, 
	error TEXT, 
	notices TEXT NOT NULL, 
	from_store BOOLEAN NOT NULL, 
	retry_of VARCHAR(36), 
	run TEXT, 
	number BIGINT NOT NULL, 
	PRIMARY KEY (id), 
	UNIQUE (owner, idempotency_key)
);
INSERT INTO "jobs" VALUES('d9dd69aa-f6ba-49c7-ad61-d1fbd23f3e6a','generation','local','running','embedded',0,1.0,0,0,'a red fox on a blue background','{"prompt":"a red fox on a blue background","negative":"auto","model":"auto","loras":"auto","style":"auto","size":"auto","count":2,"seed":1,"steps":"auto","guidance":"auto","sampler":"auto","quality":"balanced","start":null,"mask":null,"controls":[],"improve":[],"enlarge":"auto","video":null,"engine":"auto","owner":"local","priority":0}','{"version":1,"engine":"embedded","request_prompt":"a red fox on a blue background","prompt":"a red fox on a blue background, 3d render","negative":"","family":"starter","model":{"name":"starter","path":null,"sha256":null},"loras":[],"style":"3d","width":128,"height":128,"output_width":512,"output_height":512,"count":2,"seed":1,"steps":25,"guidance":4.0,"sampler":"euler","scheduler":"simple","start":null,"mask":null,"controls":[],"stages":[{"kind":"draw"},{"kind":"enlarge","factor":4.0,"model":{"name":"starter-enlarger-x4","path":null,"sha256":null}}],"reasons":[{"choice":"engine","value":"embedded","why":"your settings say so"},{"choice":"model","value":"starter","why":"the only model that is installed"},{"choice":"style","value":"3d render","why":"you named none; flat sticker and cartoon are the others"},{"choice":"size","value":"512x512","why":"Kizy Starter draws at 128, enlarged 4 times"},{"choice":"steps","value":"25","why":"Kizy Starter at balanced quality"},{"choice":"sampler","value":"euler","why":"what Kizy Starter is made for"},{"choice":"guidance","value":"4","why":"what Kizy Starter is made for"}]}',NULL,'714d89e3d850648c8b73d6bd6a39a53ceb83a0596d60b06cff048f48cc4621e2',0,NULL,'0d7d1fc4ef71d196c3655199a5124c9c4728905cbe868b7f20ad3e0f7ddd6599',1.79528913822316598886e+09,1.79528913825226211541e+09,NULL,NULL,NULL,1,0,0,0.0,'',NULL,NULL,NULL,'[]',0,NULL,NULL,1);
INSERT INTO "jobs" VALUES('5001ba87-8df4-4e89-85f8-b46aaed36e30','generation','ann','queued','embedded',3,2.0,0,0,'an owl, cartoon','{"prompt":"an owl, cartoon","negative":"auto","model":"auto","loras":"auto","style":"auto","size":"auto","count":1,"seed":5,"steps":"auto","guidance":"auto","sampler":"auto","quality":"balanced","start":null,"mask":null,"controls":[],"improve":[{"what":"faces","amount":"normal","mask":null,"prompts":[]}],"enlarge":"auto","video":null,"engine":"auto","owner":"ann","priority":3}','{"version":1,"engine":"embedded","request_prompt":"an owl, cartoon","prompt":"an owl, cartoon","negative":"","family":"starter","model":{"name":"starter","path":null,"sha256":null},"loras":[],"style":"cartoon","width":128,"height":128,"output_width":512,"output_height":512,"count":1,"seed":5,"steps":25,"guidance":4.0,"sampler":"euler","scheduler":"simple","start":null,"mask":null,"controls":[],"stages":[{"kind":"draw"},{"kind":"enlarge","factor":4.0,"model":{"name":"starter-enlarger-x4","path":null,"sha256":null}},{"kind":"improve","what":"faces","amount":"normal","strength":0.4,"width":128,"height":128,"multiple":32,"mask":null,"prompts":[],"reach":4.0,"enlarger":{"name":"starter-enlarger-x4","path":null,"sha256":null}}],"reasons":[{"choice":"engine","value":"embedded","why":"your settings say so"},{"choice":"model","value":"starter","why":"the only model that is installed"},{"choice":"style","value":"cartoon","why":"your prompt says so"},{"choice":"size","value":"512x512","why":"Kizy Starter draws at 128, enlarged 4 times"},{"choice":"steps","value":"25","why":"Kizy Starter at balanced quality"},{"choice":"sampler","value":"euler","why":"what Kizy Starter is made for"},{"choice":"improve","value":"faces, normal","why":"0.4 of the steps are drawn anew, each part at the size that is drawn best"},{"choice":"guidance","value":"4","why":"what Kizy Starter is made for"}]}',NULL,'1091afcf3e882f0e450995b3dc06dc91d70ed1f970784fb9c8518693ee608be0',0,NULL,'ac3b07f41c0d2e8348cdfcde22c196f3587e5e6dddafa9e237fe96e114555fca',1.79528913824285244948e+09,NULL,NULL,NULL,NULL,0,0,0,0.0,'',NULL,NULL,NULL,'[]',0,NULL,NULL,2);
CREATE TABLE keys (
	id VARCHAR(12) NOT NULL, 
	name TEXT NOT NULL, 
	hash VARCHAR(64) NOT NULL, 
	admin BOOLEAN NOT NULL, 
	created FLOAT NOT NULL, 
	used FLOAT, 
	withdrawn FLOAT, 
	PRIMARY KEY (id), 
	UNIQUE (hash)
);
CREATE TABLE meta (
	"key" VARCHAR(40) NOT NULL, 
	value TEXT, 
	PRIMARY KEY ("key")
);
INSERT INTO "meta" VALUES('schema','1');
CREATE TABLE uploads (
	id VARCHAR(64) NOT NULL, 
	name TEXT NOT NULL, 
	media_type VARCHAR(100) NOT NULL, 
	bytes BIGINT NOT NULL, 
	width INTEGER, 
	height INTEGER, 
	used FLOAT NOT NULL, 
	PRIMARY KEY (id)
);
CREATE INDEX jobs_by_state ON jobs (state, priority, place);
CREATE INDEX jobs_by_owner ON jobs (owner, number);
CREATE INDEX jobs_by_number ON jobs (number);
CREATE INDEX events_of_job ON events (job_id, id);
CREATE INDEX jobs_of_artifact ON job_artifacts (artifact_id);
CREATE INDEX finished_by_artifact ON finished (artifact_id);
DELETE FROM "sqlite_sequence";
COMMIT;
