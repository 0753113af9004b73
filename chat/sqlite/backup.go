package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Backup copies the database in the file from to a new file, to, as it is at one moment, while whoever has it open goes on
// reading and appending. The copy keeps every record's position, and begins a new epoch when it is opened: a client that
// saw more than it holds is told so. It is readable by its owner alone, and there whole or not at all.
func Backup(ctx context.Context, from, to string) error {
	if err := copyDB(ctx, from, to); err != nil {
		return fmt.Errorf("sqlite: backup of %s: %w", from, err)
	}
	return nil
}

// Restore copies a backup to a new file, to, which [Open] then opens. The error says what is wrong with a backup that is
// damaged, or none.
func Restore(ctx context.Context, backup, to string) error {
	if err := copyDB(ctx, backup, to); err != nil {
		return fmt.Errorf("sqlite: restore from %s: %w", backup, err)
	}
	return nil
}

func copyDB(ctx context.Context, from, to string) error {
	if _, err := os.Stat(from); err != nil { // or SQLite would make an empty one
		return err
	}
	from, err := filepath.Abs(from)
	if err != nil {
		return err
	}
	return anew(to, func(temp string) error {
		if err := vet(ctx, from); err != nil {
			return err
		}
		db, err := openDB(from, 1) // VACUUM INTO is not for a connection that only queries
		if err != nil {
			return err
		}
		err = check(ctx, db)
		if err == nil {
			_, err = db.ExecContext(ctx, `VACUUM INTO ?`, temp)
		}
		err = errors.Join(err, db.Close())
		if err != nil {
			return err
		}
		return markCopied(ctx, temp)
	})
}

// anew makes the file to, which must not exist, by what write does to one beside it.
func anew(to string, write func(temp string) error) error {
	if _, err := os.Lstat(to); err == nil {
		return fmt.Errorf("%s: %w", to, os.ErrExist)
	}
	f, err := os.CreateTemp(filepath.Dir(to), filepath.Base(to)+".*.tmp") // its owner's alone
	if err != nil {
		return err
	}
	temp := f.Name()
	defer func() { _ = os.Remove(temp) }() // fails once it has its name
	if temp, err = filepath.Abs(temp); err != nil {
		return errors.Join(err, f.Close())
	}
	err = write(temp)
	if err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err != nil {
		return err
	}
	return nameIt(temp, to, os.Link)
}

// nameIt gives a whole file its name, unless there is a file of that name, be it that one has come meanwhile: then the error is
// fs.ErrExist, and that stays. Where there are no hard links (FAT, some network file systems) an empty file takes the
// name, and is then replaced; a crash in between leaves it behind.
func nameIt(temp, to string, link func(temp, to string) error) error {
	err := link(temp, to)
	if err == nil || errors.Is(err, fs.ErrExist) {
		return err
	}
	place, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	err = place.Close()
	if err == nil {
		err = os.Rename(temp, to)
	}
	if err != nil {
		_ = os.Remove(to) // it is ours, and empty
	}
	return err
}

// check says what is wrong with a database.
func check(ctx context.Context, db *sql.DB) error {
	var fault string
	if err := db.QueryRowContext(ctx, `PRAGMA quick_check(1)`).Scan(&fault); err != nil {
		return err
	}
	if fault != "ok" {
		return fmt.Errorf("it is damaged: %s", fault)
	}
	return nil
}

// markCopied says in a copy that it is one.
func markCopied(ctx context.Context, path string) error {
	db, err := openDB(path, 1, "journal_mode(MEMORY)", "synchronous(FULL)")
	if err != nil {
		return err
	}
	_, err = db.ExecContext(ctx, `UPDATE meta SET copied = 1, unsynced = 0`)
	return errors.Join(err, db.Close())
}
