-- Purpose: whether the role may install and uninstall here; its name, and the database's. Touches: the catalog, read only.
SELECT rolsuper OR (rolcreaterole AND has_database_privilege(current_database(), 'CREATE')), rolname::text,
       current_database()::text
FROM pg_roles
WHERE rolname = current_user
